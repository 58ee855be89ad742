// How long an adaptive waiter may spin before it sleeps: the price of a wakeup on another CPU is
// tens of microseconds, on the same CPU one; spinning pays only in the first case, and only if the
// news comes soon.
// Units     nanoseconds. CPUs by number.
// Threads   one waiter at a time. Pure: time and CPUs are handed in.
// Source    engine/README.md, "Waiting" (with the measurements behind the numbers).
#pragma once
#include <algorithm>
#include <cstdint>

namespace ferry {

class spin_policy {
 public:
  explicit spin_policy(std::int64_t limit_ns) noexcept : limit_ns_(std::max<std::int64_t>(limit_ns, 0)) {}

  // How long to spin now. 0: sleep at once.
  std::int64_t budget_ns(std::uint32_t my_cpu, std::uint32_t peer_cpu) const noexcept {
    if (my_cpu == peer_cpu) return 0;  // the peer cannot run while we spin
    if (expected_ns_ > limit_ns_ / 2) return 0;
    return std::clamp(2 * expected_ns_, std::min(floor_ns, limit_ns_), limit_ns_);
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

 private:
  std::int64_t limit_ns_;
  std::int64_t expected_ns_ = 0;  // moving average of how long the news takes
};

}  // namespace ferry
