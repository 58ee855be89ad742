// How long an adaptive waiter may spin before it sleeps: the price of a wakeup on another CPU is
// tens of microseconds, on the same CPU a few; spinning pays only in the first case, and only if
// the news comes soon.
// Units     nanoseconds. CPUs by number.
// Threads   one waiter at a time. Pure: time and CPUs are handed in.
// Source    engine/README.md, "Waiting" (with the measurements behind the numbers).
#pragma once
#include <algorithm>
#include <cstdint>

namespace ferry {

class spin_policy {
 public:
  explicit spin_policy(std::int64_t limit_ns) noexcept
      : limit_ns_(std::max<std::int64_t>(limit_ns, 0)) {}

  // How long to spin for news from a peer on another CPU. 0: sleep at once.
  std::int64_t budget_ns() const noexcept {
    if (expected_ns_ > limit_ns_ / 2) return 0;
    return std::clamp(2 * expected_ns_, std::min(floor_ns, limit_ns_), limit_ns_);
  }

  // The peer was last seen on this very CPU, where it cannot run while we spin, and calls come so
  // fast that spinning on another CPU would pay. Whether to try and move there now: ever more
  // rarely while it does not help, since the scheduler, or whoever pinned us, may have its reasons.
  bool try_to_part() noexcept {
    if (budget_ns() == 0) return false;
    if (++together_ < next_try_) return false;
    together_ = 0;
    next_try_ = std::min(2 * next_try_, most_between_tries);
    return true;
  }
  void apart() noexcept {
    together_ = 0;
    next_try_ = first_try;
  }

  // The news came `waited_ns` after the wait began, by spinning or after a sleep.
  void came_after(std::int64_t waited_ns) noexcept {
    // Bounded, so that an hour of idleness is forgotten after a few quick answers.
    const std::int64_t seen = std::min(waited_ns, 2 * limit_ns_);
    expected_ns_ += (seen - expected_ns_) / 8;
  }

  // The kernel took the CPU away from the spinning thread: somebody else needs it.
  void preempted() noexcept { came_after(2 * limit_ns_); }

  std::int64_t expected_ns() const noexcept { return expected_ns_; }

  // About the price of one sleep and wake of both sides: to spin for less never pays.
  static constexpr std::int64_t floor_ns = 50'000;
  static constexpr std::uint32_t first_try = 4;  // waits on one CPU before the first try to part
  static constexpr std::uint32_t most_between_tries = 4096;

 private:
  std::int64_t limit_ns_;
  std::int64_t expected_ns_ = 0;  // moving average of how long the news takes
  std::uint32_t together_ = 0;    // waits on one CPU since the last try
  std::uint32_t next_try_ = first_try;
};

}  // namespace ferry
