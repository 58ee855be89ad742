#include "engine/session/small_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "perf/heap_count.h"

namespace ferry {
namespace {

TEST(small_pool, gives_blocks_that_do_not_overlap) {
  for (const std::size_t size : {1ul, 63ul, 64ul, 65ul, 2'048ul}) {
    small_pool pool(size);
    std::vector<std::byte*> blocks;
    for (int i = 0; i < 100; ++i) {
      blocks.push_back(pool.take());
      std::memset(blocks.back(), i, size);
    }
    std::ranges::sort(blocks);
    for (std::size_t i = 1; i < blocks.size(); ++i) {
      EXPECT_GE(blocks[i] - blocks[i - 1], static_cast<std::ptrdiff_t>(size));
    }
  }
}

TEST(small_pool, gives_the_block_that_came_back_last) {
  small_pool pool(100);
  std::byte* first = pool.take();
  std::byte* second = pool.take();
  pool.give(first);
  pool.give(second);
  EXPECT_EQ(pool.take(), second);  // warm
  EXPECT_EQ(pool.take(), first);
}

TEST(small_pool, asks_the_heap_only_for_more_blocks_than_there_ever_were) {
  small_pool pool(1'000);
  std::vector<std::byte*> blocks(50);
  for (auto& block : blocks) block = pool.take();
  for (std::byte* block : blocks) pool.give(block);
  const auto before = heap_allocations();
  for (int round = 0; round < 100; ++round) {
    for (auto& block : blocks) block = pool.take();
    for (std::byte* block : blocks) pool.give(block);
  }
  EXPECT_EQ(heap_allocations(), before);
}

TEST(small_pool, gives_no_block_to_two_threads_at_once) {
  small_pool pool(64);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const auto mark = static_cast<unsigned char>(thread + 1);
      for (int i = 0; i < 5'000; ++i) {
        std::byte* blocks[3] = {pool.take(), pool.take(), pool.take()};
        for (std::byte* block : blocks) std::memset(block, mark, 64);
        for (std::byte* block : blocks) {
          if (std::count(block, block + 64, std::byte{mark}) != 64) ++wrong;
          pool.give(block);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace ferry
