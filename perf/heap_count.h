// Counts how often this program asks the heap for memory, and how much at once.
// Threads   any; the count is of the whole process.
// Variants  plain: calls of operator new. Under a sanitizer, which has an operator new of its own:
//           whatever it says was allocated, calls of malloc included.
#pragma once
#include <cstdint>

namespace ferry {

std::uint64_t heap_allocations() noexcept;  // since the start

// The largest piece that was asked for since the last call of heap_forget_largest(), in bytes.
std::uint64_t heap_largest() noexcept;
void heap_forget_largest() noexcept;

}  // namespace ferry
