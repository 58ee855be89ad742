// The steady clock as of the last scheduler tick: a few nanoseconds to read, where the precise one
// costs tens.
// Units     as std::chrono::steady_clock, behind it by at most coarse_tick.
// Threads   any.
#pragma once
#include <chrono>
#include <ctime>

namespace ferry {

inline constexpr auto coarse_tick = std::chrono::milliseconds(10);  // of a kernel with HZ=100

inline std::chrono::steady_clock::time_point coarse_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::steady_clock::time_point(std::chrono::seconds(now.tv_sec) +
                                               std::chrono::nanoseconds(now.tv_nsec));
}

}  // namespace ferry
