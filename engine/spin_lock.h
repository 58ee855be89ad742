// A lock held for a few instructions, never across a call that could wait.
// Threads   any. Not recursive.
#pragma once
#include <atomic>

#include "ring/atomics.h"

namespace ferry {

class spin_lock {
 public:
  void lock() noexcept {
    // acquire: pairs with the release in unlock().
    while (busy_.test_and_set(std::memory_order_acquire)) cpu_pause();
  }
  void unlock() noexcept { busy_.clear(std::memory_order_release); }

 private:
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace ferry
