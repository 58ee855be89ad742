// FERRY_CHECK(condition): a broken invariant or precondition of ours. Aborts with file and line, in
// release builds too. Never used on what a peer or a user sent: that is a result.
#pragma once

namespace ferry {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}  // namespace ferry

#define FERRY_CHECK(condition)                               \
  do {                                                       \
    if (!(condition)) [[unlikely]]                           \
      ::ferry::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
