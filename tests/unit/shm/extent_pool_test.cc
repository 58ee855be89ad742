#include "shm/extent_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace ferry {
namespace {

// Walks one region: neighbours agree, units add up, no two free ones touch. Gives the extents seen.
std::size_t walk(const extent_pool& pool, extent_pool::id first, std::uint32_t units) {
  std::uint32_t at = 0;
  std::size_t seen = 0;
  extent_pool::id before = 0;
  for (extent_pool::id each = first; each != 0; each = pool[each].after, ++seen) {
    EXPECT_EQ(pool[each].before, before);
    EXPECT_EQ(pool[each].start, at);
    EXPECT_NE(pool[each].is, extent_pool::extent::spare);
    if (before != 0 && pool[each].is == extent_pool::extent::free) {
      EXPECT_NE(pool[before].is, extent_pool::extent::free);
    }
    at += pool[each].units;
    before = each;
  }
  EXPECT_EQ(at, units);
  return seen;
}

TEST(extent_pool, an_empty_one_has_nothing_to_give) {
  extent_pool pool;
  ASSERT_TRUE(pool.make_ready());
  EXPECT_EQ(pool.take(1), 0u);
  EXPECT_EQ(pool.take(~0u, true), 0u);
  EXPECT_FALSE(pool.is_taken(0));
  EXPECT_FALSE(pool.is_taken(~0u));
}

TEST(extent_pool, gives_a_region_of_any_size_whole_and_takes_it_back) {
  for (const std::uint32_t units : {1u, 15u, 16u, 17u, 1000u, 1u << 31, ~0u}) {
    extent_pool pool;
    ASSERT_TRUE(pool.make_ready());
    const auto first = pool.add_region(3, units);
    const auto taken = pool.take(units);
    ASSERT_EQ(taken, first);
    EXPECT_EQ(pool[taken].region, 3u);
    EXPECT_EQ(pool.take(1, true), 0u);
    pool.give(taken);
    EXPECT_EQ(pool[first].units, units);
    pool.remove_region(first);
    EXPECT_EQ(pool.take(1, true), 0u);
  }
}

TEST(extent_pool, prefers_what_was_just_given_back_to_cutting_a_larger_one) {
  extent_pool pool;
  ASSERT_TRUE(pool.make_ready());
  pool.add_region(0, 10'000);
  const auto hole = pool.take(1234);
  ASSERT_TRUE(pool.make_ready());
  ASSERT_NE(pool.take(10), 0u);  // keeps the hole from merging with the rest
  pool.give(hole);
  ASSERT_TRUE(pool.make_ready());
  EXPECT_EQ(pool.take(1234), hole);  // although its class also holds smaller ones
}

TEST(extent_pool, a_thorough_look_finds_the_one_that_fits_behind_many_that_do_not) {
  extent_pool pool;
  std::vector<extent_pool::id> small;
  ASSERT_TRUE(pool.make_ready());
  const auto large = pool.add_region(0, 1055);
  for (std::uint32_t i = 1; i <= 20; ++i) {  // the same class, but too small, and looked at first
    ASSERT_TRUE(pool.make_ready());
    pool.add_region(i, 1024);
  }
  ASSERT_TRUE(pool.make_ready());
  EXPECT_EQ(pool.take(1050), 0u);
  EXPECT_EQ(pool.take(1050, true), large);
}

TEST(extent_pool, keeps_its_books_through_any_order_of_takes_and_gives) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  extent_pool pool;
  constexpr std::uint32_t units = 1u << 16;
  ASSERT_TRUE(pool.make_ready());
  const auto first = pool.add_region(0, units);
  std::vector<extent_pool::id> live;
  for (int turn = 0; turn < 20'000; ++turn) {
    ASSERT_TRUE(pool.make_ready());
    if (live.empty() || random() % 2 == 0) {
      const auto wanted = static_cast<std::uint32_t>(1 + random() % (1u << (random() % 12)));
      if (const auto taken = pool.take(wanted, turn % 3 == 0); taken != 0) {
        EXPECT_GE(pool[taken].units, wanted);
        live.push_back(taken);
      }
    } else {
      std::swap(live[random() % live.size()], live.back());
      pool.give(live.back());
      live.pop_back();
    }
    if (turn % 500 == 0) {
      ASSERT_GE(walk(pool, first, units), live.size());
    }
  }
  for (const auto taken : live) pool.give(taken);
  EXPECT_EQ(walk(pool, first, units), 1u);
}

TEST(extent_pool_death, giving_back_twice_aborts) {
  extent_pool pool;
  ASSERT_TRUE(pool.make_ready());
  pool.add_region(0, 100);
  const auto taken = pool.take(10);
  pool.give(taken);
  EXPECT_DEATH(pool.give(taken), "broken invariant");
}

}  // namespace
}  // namespace ferry
