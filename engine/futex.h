// The kernel's futex on words that two processes share.
// Threads   any.  Errors  none that matter: every caller looks at its condition again.
#pragma once
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>
#include <optional>

namespace ferry {

// The address is only the kernel's to look at: waking one that is not mapped any more is harmless.
inline void futex_wake_address(const void* word) noexcept {
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
inline void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  futex_wake_address(&word);
}

// Sleeps while `word` is `value`, at most `timeout`. May wake early. Works through a read-only map.
inline void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                       std::optional<std::chrono::nanoseconds> timeout) noexcept {
  timespec limit{};
  if (timeout) {
    limit.tv_sec = static_cast<time_t>(timeout->count() / 1'000'000'000);
    limit.tv_nsec = static_cast<long>(timeout->count() % 1'000'000'000);
  }
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, timeout ? &limit : nullptr, nullptr, 0);
}

}  // namespace ferry
