// The steady clock as of the last scheduler tick: a few nanoseconds to read, where the precise one
// costs tens.
// Units     as std::chrono::steady_clock, behind it by at most coarse_tick.
// Threads   any.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace ferry {

inline constexpr auto coarse_tick = std::chrono::milliseconds(10);  // of a kernel with HZ=100

inline std::chrono::steady_clock::time_point coarse_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::steady_clock::time_point(std::chrono::seconds(now.tv_sec) +
                                               std::chrono::nanoseconds(now.tv_nsec));
}

// The same in milliseconds, modulo 2^32 and never 0: what a record says of when it was sent.
inline std::uint32_t coarse_ms() noexcept {
  const auto now = coarse_now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  return std::max(static_cast<std::uint32_t>(ms), 1u);
}

}  // namespace ferry
