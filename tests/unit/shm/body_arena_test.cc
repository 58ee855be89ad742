#include "shm/body_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/shm/child.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t mb = 1u << 20;

struct counted_arena {  // fixture: an arena that notes what it announces and retires
  explicit counted_arena(arena_options options = {})
      : arena(
            options,
            [this](std::uint32_t id, const own_segment& segment) -> result<void> {
              if (announce_error.code != errc{}) return announce_error;
              announced.push_back(id);
              sizes.push_back(segment.size());
              return {};
            },
            [this](std::uint32_t id) -> result<void> {
              if (retire_error.code != errc{}) return retire_error;
              retired.push_back(id);
              return {};
            }) {}

  error announce_error{errc{}};  // what the callbacks give; errc{} = they succeed
  error retire_error{errc{}};
  std::vector<std::uint32_t> announced;
  std::vector<std::uint64_t> sizes;
  std::vector<std::uint32_t> retired;
  body_arena arena;
};

std::chrono::steady_clock::time_point later(std::chrono::nanoseconds by) {
  return std::chrono::steady_clock::now() + by;
}

std::size_t arena_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("ferry-bodies") != line.npos) ++count;
  }
  return count;
}

// A body's contents tell whose they are: overlaps and lost writes show.
void fill(const arena_block& block, std::uint64_t key) {
  for (std::uint64_t at = 0; at < block.size_bytes; at += 61) {
    block.data[at] = static_cast<std::byte>(key * 31 + at);
  }
}
bool holds(const arena_block& block, std::uint64_t key) {
  for (std::uint64_t at = 0; at < block.size_bytes; at += 61) {
    if (block.data[at] != static_cast<std::byte>(key * 31 + at)) return false;
  }
  return true;
}

TEST(body_arena, gives_aligned_blocks_of_any_size_that_do_not_overlap) {
  counted_arena fixture;
  std::vector<arena_block> blocks;
  for (const std::uint64_t size : {0ull, 1ull, 63ull, 64ull, 65ull, 4095ull, 4096ull, 1ull * mb,
                                   4ull * mb, 5ull * mb + 1, 0ull}) {
    auto block = fixture.arena.allocate(size);
    ASSERT_TRUE(block) << size << ": " << block.error().message();
    EXPECT_EQ(block->size_bytes, size);
    EXPECT_EQ(block->offset % 64, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data) % 64, 0u);
    fill(*block, blocks.size());
    blocks.push_back(*block);
  }
  EXPECT_EQ(fixture.arena.stats().allocated_blocks, blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_TRUE(holds(blocks[i], i)) << i;
    fixture.arena.free(blocks[i]);
  }
  EXPECT_EQ(fixture.arena.stats().allocated_bytes, 0u);
  EXPECT_EQ(fixture.arena.stats().allocated_blocks, 0u);
}

TEST(body_arena, a_gigabyte_fits_or_fails_with_a_clear_reason) {
  counted_arena fixture;
  const auto block = fixture.arena.allocate(1024 * mb);
  if (!block) {
    EXPECT_EQ(block.error().code, errc::no_memory) << block.error().message();
    EXPECT_GE(block.error().wanted, 1024 * mb);
    EXPECT_EQ(fixture.arena.stats().segments, 0u);
    return;
  }
  block->data[1024 * mb - 1] = std::byte{1};
  fixture.arena.free(*block);
  EXPECT_EQ(fixture.arena.trim(later(0s), true), 1024 * mb);
}

TEST(body_arena, refuses_sizes_near_the_end_of_the_numbers) {
  counted_arena fixture;
  for (const std::uint64_t size : std::initializer_list<std::uint64_t>{
           UINT64_MAX, UINT64_MAX - 63, UINT64_MAX / 2, 1ull << 38}) {
    const auto block = fixture.arena.allocate(size);
    ASSERT_FALSE(block);
    EXPECT_EQ(block.error().code, errc::no_memory);
    EXPECT_EQ(block.error().wanted, size);
  }
  EXPECT_EQ(fixture.arena.stats().segments, 0u);
}

TEST(body_arena, starts_small_and_doubles_its_segments) {
  counted_arena fixture({.quota_bytes = 64 * mb, .first_segment_bytes = 1 * mb});
  EXPECT_EQ(fixture.arena.stats().segments, 0u);
  std::vector<arena_block> blocks;
  while (fixture.announced.size() < 3) blocks.push_back(*fixture.arena.allocate(256 * 1024));
  EXPECT_EQ(fixture.announced, (std::vector<std::uint32_t>{1, 2, 3}));
  EXPECT_EQ(fixture.sizes, (std::vector<std::uint64_t>{1 * mb, 2 * mb, 4 * mb}));
  EXPECT_EQ(blocks.size(), 4u + 8u + 1u);
  EXPECT_EQ(fixture.arena.stats().reserved_bytes, 7 * mb);
}

TEST(body_arena, gives_the_block_that_was_freed_last_to_the_next_of_its_size) {
  counted_arena fixture;
  for (const std::uint64_t size : {100ull, 4096ull, 10'000'000ull}) {
    const auto first = fixture.arena.allocate(size);
    const auto fence = fixture.arena.allocate(64);
    ASSERT_TRUE(first && fence);
    fixture.arena.free(*first);
    const auto second = fixture.arena.allocate(size);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->data, first->data) << size;
    fixture.arena.free(*second);
    fixture.arena.free(*fence);
  }
}

TEST(body_arena, exhausting_the_quota_says_so_in_numbers_and_recovers_after_a_free) {
  counted_arena fixture({.quota_bytes = 8 * mb, .first_segment_bytes = 1 * mb});
  std::vector<arena_block> blocks;
  for (int i = 0; i < 8; ++i) {
    const auto block = fixture.arena.allocate(1 * mb);
    ASSERT_TRUE(block) << block.error().message();
    blocks.push_back(*block);
  }
  const auto over = fixture.arena.allocate(1);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, errc::no_memory);
  EXPECT_STREQ(over.error().what, "body quota");
  EXPECT_EQ(over.error().wanted, 1u);
  EXPECT_EQ(over.error().allowed, 0u);
  fixture.arena.free(blocks[3]);
  EXPECT_TRUE(fixture.arena.allocate(1 * mb));
}

TEST(body_arena, retires_idle_segments_before_it_says_the_quota_is_spent) {
  counted_arena fixture({.quota_bytes = 8 * mb, .first_segment_bytes = 1 * mb});
  std::vector<arena_block> blocks;
  for (int i = 0; i < 7; ++i) blocks.push_back(*fixture.arena.allocate(1 * mb));
  for (const auto& block : blocks) fixture.arena.free(block);
  EXPECT_EQ(fixture.retired.size(), 0u);
  const auto whole = fixture.arena.allocate(8 * mb);
  ASSERT_TRUE(whole) << whole.error().message();
  EXPECT_EQ(fixture.retired.size(), fixture.announced.size() - 1);
  EXPECT_EQ(fixture.arena.stats().reserved_bytes, 8 * mb);
}

TEST(body_arena, keeps_idle_segments_when_giving_them_up_would_not_be_enough) {
  counted_arena fixture({.quota_bytes = 8 * mb, .first_segment_bytes = 2 * mb});
  const auto held = fixture.arena.allocate(2 * mb);
  const auto idle = fixture.arena.allocate(4 * mb);
  ASSERT_TRUE(held && idle);
  fixture.arena.free(*idle);
  EXPECT_FALSE(fixture.arena.allocate(7 * mb));
  EXPECT_TRUE(fixture.retired.empty());
}

TEST(body_arena, gives_memory_and_descriptors_back_after_the_idle_time_and_not_before) {
  const std::size_t descriptors = open_descriptors();
  const std::size_t mappings = arena_mappings();
  counted_arena fixture({.first_segment_bytes = 1 * mb, .idle_before_shrink = 10s});
  const auto small = fixture.arena.allocate(1000);
  const auto large = fixture.arena.allocate(20 * mb);
  ASSERT_TRUE(small && large);
  EXPECT_EQ(open_descriptors(), descriptors + 2);
  EXPECT_EQ(arena_mappings(), mappings + 2);
  EXPECT_FALSE(fixture.arena.next_shrink());
  fixture.arena.free(*large);
  const auto due = fixture.arena.next_shrink();
  ASSERT_TRUE(due);
  EXPECT_LE(*due, later(10s));
  EXPECT_GT(*due, later(5s));
  EXPECT_EQ(fixture.arena.trim(*due - 1ns, false), 0u);
  EXPECT_EQ(fixture.arena.trim(*due, false), 20 * mb);
  EXPECT_EQ(fixture.retired, std::vector<std::uint32_t>{2});
  EXPECT_EQ(open_descriptors(), descriptors + 1);
  EXPECT_EQ(arena_mappings(), mappings + 1);
  EXPECT_FALSE(fixture.arena.next_shrink());
  fixture.arena.free(*small);
  EXPECT_EQ(fixture.arena.trim(later(0s), true), 1 * mb);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(arena_mappings(), mappings);
  EXPECT_EQ(fixture.arena.stats().reserved_bytes, 0u);
  const auto again = fixture.arena.allocate(1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->segment, 3u);  // ids are never used twice
}

TEST(body_arena, keeps_a_segment_that_cannot_be_retired_and_asks_again_later) {
  counted_arena fixture({.idle_before_shrink = 10s});
  const auto block = fixture.arena.allocate(1);
  ASSERT_TRUE(block);
  fixture.arena.free(*block);
  fixture.retire_error = error{errc::full};
  const auto now = later(20s);
  EXPECT_EQ(fixture.arena.trim(now, false), 0u);
  EXPECT_EQ(fixture.arena.stats().segments, 1u);
  EXPECT_EQ(fixture.arena.next_shrink(), now + 10s);
  fixture.retire_error.code = errc{};
  EXPECT_EQ(fixture.arena.trim(now + 10s, false), 4 * mb);
}

TEST(body_arena, a_failed_announcement_undoes_everything) {
  const std::size_t descriptors = open_descriptors();
  counted_arena fixture;
  fixture.announce_error = error{errc::unavailable, 0, "no peer"};
  const auto block = fixture.arena.allocate(100);
  ASSERT_FALSE(block);
  EXPECT_EQ(block.error().code, errc::unavailable);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(arena_mappings(), 0u);
  EXPECT_EQ(fixture.arena.stats().reserved_bytes, 0u);
  EXPECT_FALSE(fixture.arena.next_shrink());
  fixture.announce_error.code = errc{};
  EXPECT_TRUE(fixture.arena.allocate(100));
}

TEST(body_arena, what_it_announces_is_what_a_peer_can_read) {
  std::map<std::uint32_t, peer_segment> peer;
  body_arena arena(
      {.first_segment_bytes = 1 * mb},
      [&](std::uint32_t id, const own_segment& segment) -> result<void> {
        auto view = peer_segment::map(unique_fd(::dup(segment.fd())), segment.size());
        if (!view) return view.error();
        peer.emplace(id, std::move(*view));
        return {};
      },
      [](std::uint32_t) { return result<void>(); });
  for (std::uint64_t size = 1; size < 4 * mb; size *= 3) {
    const auto block = arena.allocate(size);
    ASSERT_TRUE(block) << block.error().message();
    fill(*block, size);
    const auto seen = peer.at(block->segment).bytes().subspan(block->offset, size);
    EXPECT_EQ(std::memcmp(seen.data(), block->data, size), 0);
  }
}

TEST(body_arena, keeps_contents_apart_through_random_sizes_in_random_order) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  counted_arena fixture({.quota_bytes = 96 * mb, .first_segment_bytes = 256 * 1024});
  std::vector<std::pair<arena_block, std::uint64_t>> live;
  std::size_t refused = 0;
  for (std::uint64_t key = 0; key < 10'000; ++key) {
    if (live.size() < 200 && random() % 5 < 3) {
      const std::uint64_t size = random() % (1u << (random() % 22));
      const auto block = fixture.arena.allocate(size);
      if (block) {
        fill(*block, key);
        live.emplace_back(*block, key);
      } else {
        ASSERT_EQ(block.error().code, errc::no_memory) << block.error().message();
        ++refused;
      }
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      ASSERT_TRUE(holds(live.back().first, live.back().second));
      fixture.arena.free(live.back().first);
      live.pop_back();
    }
    if (key % 1000 == 999) fixture.arena.trim(later(0s), true);
    ASSERT_LE(fixture.arena.stats().reserved_bytes, 96 * mb);
  }
  EXPECT_LT(refused, 1000u);
  for (const auto& [block, key] : live) {
    EXPECT_TRUE(holds(block, key));
    fixture.arena.free(block);
  }
  fixture.arena.trim(later(0s), true);
  EXPECT_EQ(fixture.arena.stats().segments, 0u);
  EXPECT_EQ(fixture.announced.size(), fixture.retired.size());
}

TEST(body_arena, serves_many_threads_at_once) {
  counted_arena fixture({.quota_bytes = 64 * mb, .first_segment_bytes = 64 * 1024});
  std::atomic<std::size_t> spoilt = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t key = 1; key <= 4; ++key) {
      threads.emplace_back([&, key] {
        std::mt19937 random(static_cast<std::uint32_t>(key));
        std::vector<arena_block> live;
        for (int turn = 0; turn < 3000; ++turn) {
          if (live.size() < 16) {
            if (auto block = fixture.arena.allocate(random() % 20'000)) {
              fill(*block, key);
              live.push_back(*block);
              continue;
            }
          }
          if (live.empty()) continue;
          std::swap(live[random() % live.size()], live.back());
          if (!holds(live.back(), key)) ++spoilt;
          fixture.arena.free(live.back());
          live.pop_back();
          if (turn % 100 == 0) fixture.arena.trim(later(0s), true);
        }
        for (const auto& block : live) fixture.arena.free(block);
      });
    }
  }
  EXPECT_EQ(spoilt, 0u);
  EXPECT_EQ(fixture.arena.stats().allocated_blocks, 0u);
  EXPECT_EQ(fixture.arena.stats().allocated_bytes, 0u);
  EXPECT_GT(fixture.arena.stats().high_water_bytes, 0u);
}

TEST(body_arena_death, freeing_a_block_twice_or_one_of_another_arena_aborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  counted_arena fixture;
  const auto block = fixture.arena.allocate(100);
  ASSERT_TRUE(block);
  arena_block foreign = *block;
  foreign.segment = 7;
  EXPECT_DEATH(fixture.arena.free(foreign), "broken invariant");
  fixture.arena.free(*block);
  EXPECT_DEATH(fixture.arena.free(*block), "broken invariant");
}

}  // namespace
}  // namespace ferry
