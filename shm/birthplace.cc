#include "shm/birthplace.h"

#include <pthread.h>

namespace ferry::detail {

std::uint32_t watched_forks() noexcept {
  static const int watching =
      ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(watching);  // fails only for want of memory: then forks go unseen
  return forks.load(std::memory_order_relaxed);
}

}  // namespace ferry::detail
