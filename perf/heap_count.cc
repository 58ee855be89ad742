#include "perf/heap_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
// relaxed throughout: numbers that order nothing
std::atomic<std::uint64_t> count{0};
std::atomic<std::uint64_t> largest{0};

void note(std::size_t size_bytes) {
  count.fetch_add(1, std::memory_order_relaxed);
  auto known = largest.load(std::memory_order_relaxed);
  while (size_bytes > known &&
         !largest.compare_exchange_weak(known, size_bytes, std::memory_order_relaxed)) {
  }
}
}  // namespace

namespace ferry {
std::uint64_t heap_allocations() noexcept { return count.load(std::memory_order_relaxed); }
std::uint64_t heap_largest() noexcept { return largest.load(std::memory_order_relaxed); }
void heap_forget_largest() noexcept { largest.store(0, std::memory_order_relaxed); }
}  // namespace ferry

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FERRY_HEAP_HOOKS
#endif
#endif

#ifdef FERRY_HEAP_HOOKS
#include <sanitizer/allocator_interface.h>

namespace {
void on_allocation(const volatile void*, std::size_t size_bytes) { note(size_bytes); }
void on_release(const volatile void*) {}
[[maybe_unused]] const int installed =
    __sanitizer_install_malloc_and_free_hooks(on_allocation, on_release);
}  // namespace
#else
namespace {
void* counted(std::size_t size_bytes, std::size_t alignment) {
  note(size_bytes);
  const std::size_t rounded = (size_bytes + alignment - 1) / alignment * alignment;
  void* at = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}
}  // namespace

// new[] and the nothrow forms of the standard library come here by default.
void* operator new(std::size_t size) { return counted(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t) noexcept { std::free(at); }
void operator delete(void* at, std::align_val_t) noexcept { std::free(at); }
void operator delete(void* at, std::size_t, std::align_val_t) noexcept { std::free(at); }
#endif
