// How often a connection is tried again, and after how long: exponential backoff with full jitter,
// so that many clients of one listener that restarts do not come back in step.
// Threads   plain values.
// Source    engine/channel/factory/README.md, "Attempts".
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>

namespace ferry {

struct retry_policy {
  static constexpr std::uint32_t most_retries = 100;

  std::uint32_t max_retries = 3;  // of one channel type, after the first attempt
  std::chrono::nanoseconds first_delay = std::chrono::milliseconds(50);  // doubles from there
  std::chrono::nanoseconds longest_delay = std::chrono::seconds(1);
};

// How long to wait before retry number `retry` (0 is the first): anything from nothing up to the
// full delay, as `random`, evenly spread over its 64 bits, has it.
inline std::chrono::nanoseconds backoff_delay(const retry_policy& policy, std::uint32_t retry,
                                              std::uint64_t random) noexcept {
  auto full = std::min(policy.first_delay, policy.longest_delay);
  // Stops at the longest, so that it cannot overflow.
  for (; retry > 0 && full <= policy.longest_delay / 2; --retry) full *= 2;
  if (retry > 0) full = policy.longest_delay;
  const double share = static_cast<double>(random >> 11) * 0x1p-53;  // [0, 1)
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(share * static_cast<double>(full.count())));
}

}  // namespace ferry
