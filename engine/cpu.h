// On which CPU the calling thread runs, in a nanosecond where the C library registers rseq.
// Threads   any. The answer may be old by the time it is used: a hint.
#pragma once
#include <sched.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#include <cstdint>

namespace ferry {

inline std::uint32_t current_cpu() noexcept {
#if defined(RSEQ_SIG) && defined(__x86_64__)
  if (__rseq_size != 0) {
    const auto* area = reinterpret_cast<const volatile struct rseq*>(
        static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset);
    return area->cpu_id;
  }
#endif
  const int cpu = ::sched_getcpu();
  return cpu < 0 ? 0 : static_cast<std::uint32_t>(cpu);
}

}  // namespace ferry
