#include "shm/check.h"

#include <cstdio>
#include <cstdlib>

namespace ferry {

void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "ferry: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace ferry
