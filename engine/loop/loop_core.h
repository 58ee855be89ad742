// The inside of a loop: who drives, what it waits for, and what other threads hand to it.
// Threads   "any thread" where it says so; all else only with the wheel in hand.
// Source    engine/loop/README.md.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/driver.h"
#include "engine/loop/source.h"
#include "engine/loop/timer_queue.h"
#include "engine/session/spin_policy.h"
#include "engine/unique_function.h"
#include "engine/waiting.h"
#include "shm/birthplace.h"
#include "shm/unique_fd.h"

namespace ferry {

class loop_core {
 public:
  using clock = std::chrono::steady_clock;

  static result<std::shared_ptr<loop_core>> create(reactor_kind kind);
  ~loop_core();

  // --- the wheel: any thread ------------------------------------------------------------------
  // Threads in take() go first.
  bool try_take() noexcept { return !wanted() && wheel_.try_take(); }
  // A thread waits in take(): whoever drives leaves the wheel soon.
  bool wanted() const noexcept { return wanted_.load(std::memory_order_relaxed) != 0; }
  void leave();  // with the wheel; whoever polls fd() is told what to wait for
  // Waits for the wheel, asking its holder to let go. Not if mine().
  void take();
  // With the wheel, for who cannot go on without it: lets threads in take() have it first.
  void give_way();
  bool mine() const noexcept { return wheel_.mine(); }
  driver& wheel() noexcept { return wheel_; }

  // --- any thread -----------------------------------------------------------------------------
  // Around the work of another thread on behalf of this loop's sources: a driver that waits on the
  // same CPU does not spin meanwhile, unless that work has been at it for long, for then it sleeps
  // or the scheduler tells. The number is that CPU's, for the end.
  std::uint32_t work_begins() noexcept;
  void work_ends(std::uint32_t cpu);
  bool works_here() noexcept;

  // Runs `job` on whoever drives next, soon. After close() it is dropped.
  void post(unique_function<void()> job);
  bool has_posts() const noexcept { return posted_.load(std::memory_order_seq_cst); }
  // Whoever drives looks again at posts, conditions and deadlines.
  void nudge() noexcept;
  // Something is due at `when`, of a source that may be asleep: whoever waits, or will, must not
  // sleep past it.
  void due(clock::time_point when);
  // A descriptor that is readable when run_once() has something to do; from now on every holder of
  // the wheel prepares for a host that sleeps on it.
  int fd();
  const char* reactor_name() const noexcept;
  // In a forked child: the loop is its parent's, and nothing of it may be touched here.
  bool forked() const noexcept { return made_in_.left(); }
  static error not_ours() noexcept {
    return {errc::not_supported, 0, "a loop in a forked child: make one of its own"};
  }
  // As loop::run_once. With `me`: until it has arrived, whatever other threads run meanwhile; who
  // makes it arrive without the wheel in hand nudges.
  result<std::size_t> run_once(std::chrono::nanoseconds max_wait, follower* me = nullptr);

  // --- sources: any thread; takes the wheel unless it is ours -----------------------------------
  void add(loop_source& source);
  void remove(loop_source& source);

  // --- with the wheel ---------------------------------------------------------------------------
  result<void> watch(loop_source& source, int fd, std::uint8_t which);
  void unwatch(int fd) noexcept;
  reactor& io() noexcept { return *reactor_; }
  // Waits for descriptors alone, and tells their sources.
  result<void> wait_events(std::optional<std::chrono::nanoseconds> limit);
  // The bell on which the driver sleeps, for nudge() to ring; null: on none. The address is only
  // handed to the kernel, never read, so it may be gone by then.
  void sleeps_on(const void* bell) noexcept { bell_.store(bell, std::memory_order_seq_cst); }
  timer_queue& timers() noexcept { return timers_; }
  // A source that is asleep is polled at every turn again.
  void activate(loop_source& source) noexcept {
    if (source.armed_) wake(source);
  }
  void activate_all() noexcept;
  bool alone() const noexcept { return live_ == 1; }
  // Runs posts, lets every active source take its turn, runs what is due as of the last scheduler
  // tick. How much it did. What a job or a callback throws ends the process where it is thrown: it
  // would leave the wheel with this thread, and others' calls half ended.
  std::size_t turn() noexcept;
  std::size_t run_posts() noexcept;  // alone, without any source
  // Holds what may be on the stack, even us, until the wheel is left.
  void bury(std::shared_ptr<void> gone) { buried_.push_back(std::move(gone)); }
  // What is due by the precise clock: after a wait that timed out.
  std::size_t serve_due(clock::time_point now) noexcept;
  // Waits until there is something for turn(), `until` holds, or the deadline, or that of a source
  // or a timer, passes: after `timeout` look at the clock and serve_due(). Not while the wheel is
  // wanted().
  woke wait(clock::time_point deadline, bool for_room = false, condition until = {});
  void set_busy_poll(std::chrono::nanoseconds limit) noexcept { busy_poll_ = limit; }
  clock::time_point next_due();

 private:
  loop_core(std::unique_ptr<reactor> waker, unique_fd wake);
  void wake(loop_source& source) noexcept;
  void release();
  std::size_t note_ran(std::size_t done) noexcept {
    if (done != 0) ran_.store(ran_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return done;
  }
  bool arm_active();
  // Whether due() told of a deadline before `planned`, or of one that is not known yet.
  bool told_of_one_before(clock::time_point planned) const noexcept {
    return rescan_.load(std::memory_order_seq_cst) ||
           told_due_.load(std::memory_order_seq_cst) < planned;
  }
  std::size_t look_at_sleepers();
  bool only_memory() noexcept;
  bool active_input() noexcept;
  void dispatch(std::span<const reactor_event> events);
  woke wait_many(clock::time_point planned, condition until);
  bool spin(clock::time_point planned, std::chrono::nanoseconds limit, const condition& until);
  loop_source* source_of(std::uint64_t token) noexcept;
  bool take_among_others(clock::time_point deadline, follower* me);

  birthplace made_in_;
  std::unique_ptr<reactor> reactor_;
  unique_fd wake_;  // an eventfd: nudge()
  driver wheel_;

  struct entry {
    loop_source* source = nullptr;
    std::uint32_t generation = 0;  // events of an older one are dropped
  };
  std::vector<entry> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::shared_ptr<void>> buried_;
  std::vector<loop_source*> active_;  // polled at every turn; null: removed meanwhile
  std::size_t live_ = 0;
  clock::time_point asleep_due_ = clock::time_point::max();  // lower bound over armed sources
  timer_queue timers_;
  spin_policy policy_;
  static constexpr std::uint32_t rival_cpus = 64;                // more share a number
  std::array<std::atomic<std::uint32_t>, rival_cpus> rivals_{};  // hints; nothing hangs on them
  std::atomic<clock::time_point> work_began_{};                  // the latest, to within a tick
  std::atomic<bool> held_back_{false};                           // a driver did not spin
  std::chrono::nanoseconds busy_poll_{0};
  std::uint32_t turns_ = 0;

  std::atomic<std::uint64_t> ran_{0};  // turns that ran something
  std::size_t in_a_row_ = 0;           // run while others wait

  std::mutex posts_mutex_;
  std::vector<unique_function<void()>> posts_;
  std::vector<unique_function<void()>> spare_posts_;  // an empty one, for its memory
  std::atomic<bool> posted_{false};
  std::atomic<bool> rescan_{false};
  std::atomic<clock::time_point> told_due_{clock::time_point::max()};  // by other threads, in due()
  std::atomic<bool> pollable_{false};
  std::atomic<std::uint32_t> wanted_{0};  // threads in take()
  std::atomic<const void*> bell_{nullptr};
  // Until when the driver, or the loop that polls fd(), sleeps at most; min(): neither does.
  std::atomic<clock::time_point> waits_until_{clock::time_point::min()};
};

// Takes the wheel of a loop for a block, unless the thread has it already.
class wheel_guard {
 public:
  // In a forked child it takes nothing: the loop is the parent's, and so may its lock be.
  explicit wheel_guard(loop_core& loop) : loop_(loop), ours_(!loop.forked() && !loop.mine()) {
    if (ours_) loop_.take();
  }
  ~wheel_guard() {
    if (ours_) loop_.leave();
  }
  wheel_guard(const wheel_guard&) = delete;
  wheel_guard& operator=(const wheel_guard&) = delete;

 private:
  loop_core& loop_;
  bool ours_;
};

}  // namespace ferry
