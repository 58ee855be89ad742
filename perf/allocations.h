// How often this program has asked the heap for memory: operator new is replaced to count.
#pragma once
#include <cstdint>

namespace ferry::perf {
std::uint64_t heap_allocations() noexcept;
}  // namespace ferry::perf
