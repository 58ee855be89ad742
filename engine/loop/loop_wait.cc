// How whoever drives a loop waits: by spinning, on the bell of its only session, in the reactor.
#include <sched.h>

#include "engine/cpu.h"
#include "engine/loop/loop_core.h"
#include "engine/session/session.h"
#include "shm/coarse_clock.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

constexpr auto spin_look_around = 1ms;  // a spinner that never sleeps sees its sockets this often
constexpr int most_yields = 16;         // of a driver with nothing to do, to threads that wait too
constexpr int crowd_looks = 8;          // of a thread that finds another driving, before it sleeps
constexpr std::size_t most_in_a_row = 256;   // done by one thread while others wait
constexpr auto long_work = 2 * coarse_tick;  // of a lane without a wait
constexpr auto preemption_gap = 100us;  // a longer gap between two looks: the spinner did not run

}  // namespace

// True if there is news already; then some sources stay active.
bool loop_core::arm_active() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    loop_source* const each = active_[i];
    if (each == nullptr) continue;
    each->arm();
    if (each->has_input()) {
      each->disarm();
      active_[kept++] = each;
      continue;
    }
    each->armed_ = true;
    asleep_due_ = std::min(asleep_due_, each->next_due());
  }
  active_.resize(kept);
  return kept != 0;
}

bool loop_core::active_input() noexcept {
  for (loop_source* each : active_) {
    if (each != nullptr && each->has_input()) return true;
  }
  return false;
}

woke loop_core::wait(clock::time_point deadline, bool for_room, condition until) {
  if (wanted()) return woke::input;
  struct looks {
    loop_core* self;
    condition until;
    bool held;
    clock::time_point planned;
  } both{this, until, false, clock::time_point::max()};
  const condition either{[](void* context) {
                           auto& look = *static_cast<looks*>(context);
                           look.held = look.until();
                           loop_core& self = *look.self;
                           return look.held || self.has_posts() ||
                                  self.told_of_one_before(look.planned) || self.wanted();
                         },
                         &both};
  const auto planned = both.planned = std::min(deadline, next_due());
  // seq_cst, with the load in due() and post(): either our last look finds the news, or they nudge.
  waits_until_.store(planned, std::memory_order_seq_cst);
  woke how;
  if (busy_poll_ > 0ns && spin(planned, busy_poll_, either)) {
    how = either() ? woke::condition : woke::input;
  } else {
    session* const only = only_memory() ? active_[0]->direct() : nullptr;
    how =
        only != nullptr ? only->wait(bound(planned), for_room, either) : wait_many(planned, either);
  }
  waits_until_.store(clock::time_point::min(), std::memory_order_relaxed);
  // Posts are input to turn(); a new deadline asks the caller to look at its clock.
  return how == woke::condition && !both.held ? (has_posts() ? woke::input : woke::timeout) : how;
}

std::uint32_t loop_core::work_begins() noexcept {
  const std::uint32_t cpu = current_cpu() % rival_cpus;
  work_began_.store(coarse_now(), std::memory_order_relaxed);
  rivals_[cpu].fetch_add(1, std::memory_order_relaxed);
  return cpu;
}

void loop_core::work_ends(std::uint32_t cpu) {
  if (rivals_[cpu].fetch_sub(1, std::memory_order_relaxed) != 1) return;
  // Whoever sleeps for its sake looks around, and may spin again.
  if (held_back_.exchange(false, std::memory_order_relaxed)) post([] {});
}

bool loop_core::works_here() noexcept {
  if (rivals_[current_cpu() % rival_cpus].load(std::memory_order_relaxed) == 0) return false;
  if (coarse_now() - work_began_.load(std::memory_order_relaxed) > long_work) return false;
  held_back_.store(true, std::memory_order_relaxed);
  return true;
}

// Looks for news without sleeping. True if there is any; false after `limit` or a preemption.
bool loop_core::spin(clock::time_point planned, std::chrono::nanoseconds limit,
                     const condition& until) {
  auto seen = clock::now();
  const auto stop = std::min(planned, seen + limit);
  for (;;) {
    for (int look = 0; look < 16; ++look) {
      if (active_input()) return true;
      cpu_pause();
    }
    if (until()) return true;
    const auto now = clock::now();
    if (now >= stop) return false;
    if (now - seen > preemption_gap && limit != busy_poll_) {
      policy_.preempted();
      return false;
    }
    seen = now;
  }
}

woke loop_core::wait_many(clock::time_point planned, condition until) {
  if (active_input()) {
    policy_.came_after(0);
    return woke::input;
  }
  const auto began = clock::now();
  if (began >= planned) return woke::timeout;
  bool pays = false, always = false;
  for (loop_source* each : active_) {
    session* const shared = each != nullptr ? each->direct() : nullptr;
    if (shared == nullptr || !shared->spinning_pays()) continue;
    pays = true;
    always |= shared->core().options().wait.mode == wait_mode::spin;
  }
  const auto came = [&](woke how) {
    policy_.came_after((clock::now() - began).count());
    return how;
  };
  if (always || (pays && policy_.budget_ns() != 0)) {
    const auto budget = always ? std::chrono::nanoseconds(spin_look_around)
                               : std::chrono::nanoseconds(policy_.budget_ns());
    if (spin(planned, budget, until)) return came(until() ? woke::condition : woke::input);
    if (always) {  // never sleeps, but sees its sockets now and then
      if (auto seen = wait_events(0ns); !seen) return woke::over;
      return active_input() ? woke::input : woke::timeout;
    }
  }
  if (arm_active()) return came(woke::input);
  if (until()) return came(woke::condition);
  std::optional<std::chrono::nanoseconds> left;
  if (planned != clock::time_point::max()) {
    left = std::max<std::chrono::nanoseconds>(planned - clock::now(), 0ns);
  }
  if (auto slept = wait_events(left); !slept) return woke::over;
  if (!active_.empty()) return came(woke::input);
  if (until()) return woke::condition;
  return woke::timeout;
}

// --- driving ------------------------------------------------------------------------------------

result<std::size_t> loop_core::run_once(std::chrono::nanoseconds max_wait, follower* me) {
  if (forked()) return not_ours();
  if (mine()) return error{errc::invalid_request, 0, "run_once inside a callback"};
  condition until;
  if (me != nullptr) {
    until = {[](void* who) { return static_cast<const follower*>(who)->arrived(); }, me};
  }
  auto deadline = clock::time_point::max();
  if (max_wait != std::chrono::nanoseconds::max())
    deadline = clock::now() + std::max(max_wait, 0ns);
  if (!try_take()) {
    if (max_wait <= 0ns || !take_among_others(deadline, me)) return std::size_t{0};
  }
  if (alone()) activate_all();
  std::size_t done = 0;
  int yields = 0;
  for (;;) {
    done += turn();
    if (done != 0 || until()) break;
    if (auto seen = wait_events(0ns); !seen) {
      leave();
      return seen.error();
    }
    done += turn();
    if (done == 0) done += serve_due(clock::now());
    if (done != 0 || max_wait <= 0ns) break;
    // Others may have more to send: let them, before we sleep with the wheel in hand.
    if (wheel_.crowded() && yields++ < most_yields) {
      leave();
      ::sched_yield();
      if (!try_take() && !take_among_others(deadline, me)) return std::size_t{0};
      continue;
    }
    if (wanted()) {
      leave();
      if (!take_among_others(deadline, me)) return std::size_t{0};
      if (alone()) activate_all();
      continue;
    }
    const woke how = wait(deadline, false, until);
    if (how == woke::timeout) {
      const auto now = clock::now();
      done += serve_due(now);
      done += turn();
      if (now >= deadline) break;
    }
    if (how == woke::over) {
      done += turn();
      break;
    }
  }
  const bool crowded = wheel_.crowded();
  const bool enough = crowded && (in_a_row_ += done) >= most_in_a_row;
  if (enough) in_a_row_ = 0;
  leave();
  if (enough) ::sched_yield();  // others wait for our CPU, perhaps
  return done;
}

// False: the deadline has passed, or `me` has arrived; without one, whoever drove has run
// something, perhaps what the caller of run_once() waits for.
bool loop_core::take_among_others(clock::time_point deadline, follower* me) {
  const std::uint64_t before = ran_.load(std::memory_order_relaxed);  // says "look again", no more
  follower own;
  const auto enough = [&] {
    return me != nullptr ? me->arrived() : ran_.load(std::memory_order_relaxed) != before;
  };
  bool taken = false;
  wheel_.join_crowd();
  for (int look = 0; look < crowd_looks && !taken && !enough(); ++look) {
    ::sched_yield();
    taken = try_take();
  }
  wheel_.leave_crowd();
  while (!taken) {
    if (enough() || clock::now() >= deadline) {
      wheel_.pass_on();
      return false;
    }
    wheel_.follow(me != nullptr ? *me : own, bound(deadline));
    taken = !enough() && try_take();
  }
  return true;
}

}  // namespace ferry
