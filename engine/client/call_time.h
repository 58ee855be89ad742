// The times of calls: from a time-out to a deadline and back, and as records carry what is left.
// Units     nanoseconds; max(): none.
// Threads   any.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>

#include "ring/record.h"
#include "shm/coarse_clock.h"

namespace ferry {

struct call_time {
  using clock = std::chrono::steady_clock;

  // Reading the precise clock costs more than sending a record. A deadline of a second or more may
  // be a tick late, never early.
  static constexpr auto coarse_is_enough = std::chrono::seconds(1);

  static clock::time_point after(std::chrono::nanoseconds timeout) {
    if (timeout == std::chrono::nanoseconds::max()) return clock::time_point::max();
    return from(timeout < coarse_is_enough ? clock::now() : coarse_now() + coarse_tick, timeout);
  }
  static clock::time_point from(clock::time_point now, std::chrono::nanoseconds timeout) {
    if (timeout > clock::time_point::max() - now) return clock::time_point::max();
    return now + std::max(timeout, std::chrono::nanoseconds::zero());
  }
  static std::chrono::nanoseconds left_until(clock::time_point deadline) {
    if (deadline == clock::time_point::max()) return std::chrono::nanoseconds::max();
    return std::max<std::chrono::nanoseconds>(deadline - clock::now(),
                                              std::chrono::nanoseconds::zero());
  }
  // As records carry it: 0 is none, what has run out is the least there is. What is soon over is
  // stamped too: the time in the ring counts.
  static void set_time_left(record_fields& call, std::chrono::nanoseconds timeout) {
    if (timeout == std::chrono::nanoseconds::max()) return;
    call.deadline_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 1));
    if (timeout < stamped_below) call.spare = coarse_ms();
  }

 private:
  static constexpr auto stamped_below = std::chrono::seconds(10);
};

}  // namespace ferry
