#include "tests/unit/codec/allocation_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
// Relaxed throughout: numbers that order nothing. Racing updates could lose a maximum, but the
// tests have one thread.
std::atomic<std::size_t> count{0};
std::atomic<std::size_t> largest_bytes{0};
}  // namespace

// The array forms and the nothrow ones call these.
void* operator new(std::size_t size_bytes) {
  count.fetch_add(1, std::memory_order_relaxed);
  if (size_bytes > largest_bytes.load(std::memory_order_relaxed)) {
    largest_bytes.store(size_bytes, std::memory_order_relaxed);
  }
  if (void* memory = std::malloc(size_bytes == 0 ? 1 : size_bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace ferry {

std::size_t allocation_count() noexcept { return count.load(std::memory_order_relaxed); }
std::size_t largest_allocation_bytes() noexcept {
  return largest_bytes.load(std::memory_order_relaxed);
}
void forget_largest_allocation() noexcept { largest_bytes.store(0, std::memory_order_relaxed); }

}  // namespace ferry
