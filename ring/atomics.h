// What the ring's algorithms need of the machine, as a template parameter: the same headers run on
// std::atomic and, in tests/model, on a checker that explores every interleaving and store buffer.
// Threads   stateless.
// Source    ring/README.md, "Atomics".
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace ferry {

inline constexpr std::size_t pad_bytes = 128;  // two cache lines: x86 prefetches lines in pairs
inline constexpr std::size_t cache_line_bytes = 64;  // the unit in which records are laid out

struct std_atomics {
  template <class T>
  using atomic = std::atomic<T>;

  // The full barrier, sync(doorbell.dekker), of the sleep/wake handshake; nothing else may use it.
  static void full_fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

  // Plain bytes of a shared mapping. After `read` the compiler may not look at the source again, so
  // what was checked is what is used, whatever the peer writes meanwhile.
  static void read(void* to, const void* from, std::size_t size_bytes) noexcept {
    std::memcpy(to, from, size_bytes);
    asm volatile("" ::: "memory");
  }
  static void write(void* to, const void* from, std::size_t size_bytes) noexcept {
    std::memcpy(to, from, size_bytes);
  }
};

// Tells the CPU that this is a spin loop: fewer steals of the line, less power.
inline void cpu_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

// A position that one side publishes and the other reads, alone on its lines.
template <class Atomics>
struct alignas(pad_bytes) cursor {
  typename Atomics::template atomic<std::uint64_t> position;  // bytes or cells; only grows
};
static_assert(sizeof(cursor<std_atomics>) == pad_bytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);  // or it cannot cross processes

}  // namespace ferry
