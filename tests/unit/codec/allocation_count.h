// Counts the calls of operator new in this test program.
// Threads   any; the count is of the whole process.
#pragma once
#include <cstddef>

namespace ferry {

std::size_t allocation_count() noexcept;          // since the start
std::size_t largest_allocation_bytes() noexcept;  // since the last forget_largest_allocation()
void forget_largest_allocation() noexcept;

}  // namespace ferry
