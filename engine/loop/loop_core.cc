#include "engine/loop/loop_core.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>

#include "engine/futex.h"
#include "engine/session/session.h"
#include "shm/coarse_clock.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

// A token of the reactor: generation, slot, number of the descriptor. Slot 0 is the loop's own.
constexpr std::uint64_t wake_token = 0;
constexpr unsigned which_bits = 8;
constexpr unsigned slot_bits = 24;
constexpr std::uint64_t slot_mask = (1u << slot_bits) - 1;

constexpr std::size_t events_at_once = 64;
constexpr std::uint32_t turns_between_looks = 32;  // at descriptors, in a loop that never rests
constexpr std::size_t timers_at_once = 256;        // run between two looks at anything else
constexpr auto wheel_wanted_pause = 20us;  // between two tries of a thread that wants the wheel
constexpr std::int64_t spin_limit_ns = 400'000;

}  // namespace

result<std::shared_ptr<loop_core>> loop_core::create(reactor_kind kind) {
  auto waker = reactor::create(kind);
  if (!waker) return waker.error();
  unique_fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return error{errc::system, errno, "eventfd"};
  if (auto watched = (*waker)->watch(wake.get(), wake_token); !watched) return watched.error();
  return std::shared_ptr<loop_core>(new loop_core(std::move(*waker), std::move(wake)));
}

loop_core::loop_core(std::unique_ptr<reactor> waker, unique_fd wake)
    : reactor_(std::move(waker)), wake_(std::move(wake)), slots_(1), policy_(spin_limit_ns) {}

loop_core::~loop_core() {
  if (made_in_.left()) return;  // what is watched is the parent's
  reactor_->unwatch(wake_.get());
  FERRY_CHECK(live_ == 0);  // sources hold the loop
}

// --- the wheel ----------------------------------------------------------------------------------

void loop_core::leave() {
  if (buried_.empty()) [[likely]]
    return release();
  const auto gone = std::move(buried_);  // after the wheel: it may be all that holds us
  buried_.clear();
  release();
}

void loop_core::release() {
  if (!pollable_.load(std::memory_order_relaxed)) return wheel_.leave();
  // The host sleeps in its own poll: the descriptor has to wake it for news and deadlines.
  const bool news = arm_active() || has_posts();
  const auto next = next_due();
  (void)reactor_->set_timer(news ? clock::now() : bound(next));
  waits_until_.store(next, std::memory_order_seq_cst);
  wheel_.leave();
  // Of a call or a job that another thread began meanwhile.
  if (has_posts() || told_of_one_before(next)) nudge();
}

void loop_core::take() {
  if (wheel_.try_take()) return;
  wanted_.fetch_add(1, std::memory_order_seq_cst);
  while (!wheel_.try_take()) {
    nudge();
    ::usleep(static_cast<useconds_t>(wheel_wanted_pause.count()));
  }
  wanted_.fetch_sub(1, std::memory_order_seq_cst);
}

void loop_core::give_way() {
  if (!wanted()) [[likely]]
    return;
  leave();
  while (wanted()) ::sched_yield();
  take();
}

int loop_core::fd() {
  if (forked()) return reactor_->fd();
  pollable_.store(true, std::memory_order_relaxed);
  if (try_take()) leave();  // arms
  return reactor_->fd();
}

const char* loop_core::reactor_name() const noexcept {
  return reactor_->kind() == reactor_kind::io_uring ? "io_uring" : "epoll";
}

// --- from other threads -------------------------------------------------------------------------

void loop_core::post(unique_function<void()> job) {
  {
    const std::lock_guard guard(posts_mutex_);
    posts_.push_back(std::move(job));
    // seq_cst, with the looks of a driver that is about to sleep: it sees this, or we see it
    // asleep.
    posted_.store(true, std::memory_order_seq_cst);
  }
  if (mine()) return;
  if (waits_until_.load(std::memory_order_seq_cst) != clock::time_point::min()) nudge();
}

void loop_core::nudge() noexcept {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);  // full: it is readable already
  // A sleeper on a bell that we miss by an instant looks again after its slice.
  if (const void* bell = bell_.load(std::memory_order_seq_cst); bell != nullptr) {
    futex_wake_address(bell);
  }
}

void loop_core::due(clock::time_point when) {
  // It may concern a source that is asleep, whose deadlines nobody asks for.
  if (mine()) {
    asleep_due_ = std::min(asleep_due_, when);
    return;
  }
  auto known = told_due_.load(std::memory_order_seq_cst);
  while (when < known && !told_due_.compare_exchange_weak(known, when, std::memory_order_seq_cst)) {
  }
  // seq_cst, with wait(): either its last look finds what we told, or we find it asleep.
  const auto until = waits_until_.load(std::memory_order_seq_cst);
  if (until == clock::time_point::min() || when >= until) return;
  rescan_.store(true, std::memory_order_seq_cst);
  nudge();
}

std::size_t loop_core::run_posts() noexcept {
  if (!posted_.load(std::memory_order_relaxed)) return 0;
  // Its own, since a job may wait inside and run the loop meanwhile.
  std::vector<unique_function<void()>> jobs;
  {
    const std::lock_guard guard(posts_mutex_);
    jobs.swap(posts_);
    posts_.swap(spare_posts_);
    posted_.store(false, std::memory_order_relaxed);
  }
  const std::size_t count = jobs.size();
  for (unique_function<void()>& job : jobs) job();
  jobs.clear();
  const std::lock_guard guard(posts_mutex_);
  if (spare_posts_.capacity() < jobs.capacity()) spare_posts_.swap(jobs);
  return count;
}

// --- sources ------------------------------------------------------------------------------------

void loop_core::add(loop_source& source) {
  const wheel_guard guard(*this);
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  source.slot_ = free_slots_.back();
  free_slots_.pop_back();
  slots_[source.slot_].source = &source;
  source.armed_ = false;
  active_.push_back(&source);
  ++live_;
}

void loop_core::remove(loop_source& source) {
  const wheel_guard guard(*this);
  if (source.slot_ == 0) return;
  entry& slot = slots_[source.slot_];
  slot.source = nullptr;
  slot.generation++;
  free_slots_.push_back(source.slot_);
  source.slot_ = 0;
  --live_;
  // turn() may be going through the list: it leaves out what is null and tidies up afterwards.
  for (loop_source*& each : active_) {
    if (each == &source) each = nullptr;
  }
}

result<void> loop_core::watch(loop_source& source, int fd, std::uint8_t which) {
  FERRY_CHECK(source.slot_ != 0);
  const std::uint64_t generation = slots_[source.slot_].generation;
  return reactor_->watch(fd, generation << (which_bits + slot_bits) |
                                 std::uint64_t{source.slot_} << which_bits | which);
}

void loop_core::unwatch(int fd) noexcept { reactor_->unwatch(fd); }

loop_source* loop_core::source_of(std::uint64_t token) noexcept {
  const auto slot = token >> which_bits & slot_mask;
  if (slot >= slots_.size()) return nullptr;
  const entry& found = slots_[slot];
  return found.generation == token >> (which_bits + slot_bits) ? found.source : nullptr;
}

void loop_core::wake(loop_source& source) noexcept {
  source.armed_ = false;
  source.disarm();
  active_.push_back(&source);
}

void loop_core::activate_all() noexcept {
  for (std::size_t slot = 1; slot < slots_.size(); ++slot) {
    if (slots_[slot].source != nullptr) activate(*slots_[slot].source);
  }
}

// --- a turn -------------------------------------------------------------------------------------

std::size_t loop_core::turn() noexcept {
  std::size_t done = run_posts();
  bool gone = false;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    if (active_[i] != nullptr) done += active_[i]->turn();
    gone |= i < active_.size() && active_[i] == nullptr;  // a turn may run turns inside
  }
  if (gone) std::erase(active_, nullptr);
  // Who never rests must not forget those that sleep, nor those that wait for a descriptor.
  if (++turns_ % turns_between_looks == 0 && !only_memory()) done += look_at_sleepers();
  if (timers_.next() != clock::time_point::max())
    done += timers_.run_due(coarse_now(), timers_at_once);
  reactor_->flush();  // what the sources began to write, all in one submission
  return note_ran(done);
}

// The one source there is hears of everything through shared memory.
bool loop_core::only_memory() noexcept {
  return alone() && active_.size() == 1 && active_[0] != nullptr && active_[0]->direct() != nullptr;
}

std::size_t loop_core::look_at_sleepers() {
  (void)wait_events(0ns);  // if the kernel refuses, the next real wait tells
  const auto now = coarse_now();
  return asleep_due_ <= now ? serve_due(now) : 0;
}

std::size_t loop_core::serve_due(clock::time_point now) noexcept {
  std::size_t done = 0;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    if (active_[i] != nullptr) done += active_[i]->tick(now);
  }
  if (asleep_due_ <= now) {
    for (std::size_t slot = 1; slot < slots_.size(); ++slot) {
      loop_source* const each = slots_[slot].source;
      if (each != nullptr && each->armed_ && each->next_due() <= now) done += each->tick(now);
    }
    rescan_.store(true, std::memory_order_relaxed);
  }
  return note_ran(done + timers_.run_due(now, timers_at_once));
}

loop_core::clock::time_point loop_core::next_due() {
  constexpr auto nothing = clock::time_point::max();
  if (told_due_.load(std::memory_order_relaxed) != nothing) {
    // seq_cst: pairs with the exchange in due(); what is told later finds waits_until_ as planned.
    asleep_due_ = std::min(asleep_due_, told_due_.exchange(nothing, std::memory_order_seq_cst));
  }
  if (rescan_.load(std::memory_order_relaxed) &&
      rescan_.exchange(false, std::memory_order_seq_cst)) {
    asleep_due_ = clock::time_point::max();
    for (std::size_t slot = 1; slot < slots_.size(); ++slot) {
      loop_source* const each = slots_[slot].source;
      if (each != nullptr && each->armed_) asleep_due_ = std::min(asleep_due_, each->next_due());
    }
  }
  auto next = std::min(asleep_due_, timers_.next());
  for (loop_source* each : active_) {
    if (each != nullptr) next = std::min(next, each->next_due());
  }
  return next;
}

// --- descriptors --------------------------------------------------------------------------------

void loop_core::dispatch(std::span<const reactor_event> events) {
  for (const reactor_event& event : events) {
    if (event.token == wake_token) {
      std::uint64_t count = 0;
      (void)!::read(wake_.get(), &count, sizeof count);  // clears it; it says no more
    } else if (loop_source* const source = source_of(event.token)) {
      activate(*source);
      source->ready(static_cast<std::uint8_t>(event.token), event);
    }
  }
}

result<void> loop_core::wait_events(std::optional<std::chrono::nanoseconds> limit) {
  std::array<reactor_event, events_at_once> events;
  const auto ready = reactor_->wait(events, limit);
  if (!ready) return ready.error();
  dispatch(std::span(events).first(*ready));
  return {};
}

}  // namespace ferry
