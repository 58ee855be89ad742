// Blocks of one size for small bodies, so that a steady flow of calls touches no heap.
// Units     block_bytes is the size of every block.
// Threads   take and give: any thread; a spin lock held for a few instructions.
// Lifetime  blocks belong to the pool and end with it.
#pragma once
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "ring/atomics.h"

namespace ferry {

class small_pool {
 public:
  explicit small_pool(std::size_t block_bytes)
      : block_bytes_((block_bytes + cache_line_bytes - 1) & ~(cache_line_bytes - 1)) {}

  std::byte* take() {
    const lock guard(*this);
    if (free_ == nullptr) grow();
    node* block = free_;
    free_ = block->next;
    return reinterpret_cast<std::byte*>(block);
  }

  void give(std::byte* block) noexcept {
    const lock guard(*this);
    free_ = new (block) node{free_};
  }

 private:
  struct node {
    node* next;
  };
  struct lock {
    explicit lock(small_pool& pool) : busy(pool.busy_) {
      while (busy.test_and_set(std::memory_order_acquire)) cpu_pause();
    }
    ~lock() { busy.clear(std::memory_order_release); }
    std::atomic_flag& busy;
  };
  static constexpr std::size_t blocks_per_chunk = 16;

  void grow() {
    chunks_.push_back(std::make_unique<std::byte[]>(block_bytes_ * blocks_per_chunk));
    for (std::size_t i = 0; i < blocks_per_chunk; ++i) {
      free_ = new (chunks_.back().get() + i * block_bytes_) node{free_};
    }
  }

  std::size_t block_bytes_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  node* free_ = nullptr;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace ferry
