#include "shm/loan_book.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace ferry {
namespace {

struct lender {  // fixture: an arena and a book over it
  explicit lender(std::uint32_t capacity, std::uint32_t first_generation = 1)
      : book(capacity, arena, first_generation) {}

  body_arena arena{{.first_segment_bytes = 1u << 20},
                   [](std::uint32_t, const own_segment&) { return result<void>(); },
                   [](std::uint32_t) { return result<void>(); }};
  loan_book book;

  result<body_id> lend(std::uint64_t size_bytes) {
    const auto block = arena.allocate(size_bytes);
    if (!block) return block.error();
    auto id = book.lend(*block);
    if (!id) arena.free(*block);
    return id;
  }
};

TEST(loan_book, frees_a_body_when_it_comes_back) {
  lender mine(8);
  const auto id = mine.lend(1000);
  ASSERT_TRUE(id);
  EXPECT_NE(*id, 0u);
  EXPECT_EQ(mine.book.outstanding(), 1u);
  EXPECT_EQ(mine.book.outstanding_bytes(), 1000u);
  EXPECT_EQ(mine.arena.stats().allocated_blocks, 1u);
  EXPECT_TRUE(mine.book.take_back(*id));
  EXPECT_EQ(mine.book.outstanding(), 0u);
  EXPECT_EQ(mine.book.outstanding_bytes(), 0u);
  EXPECT_EQ(mine.arena.stats().allocated_blocks, 0u);
}

TEST(loan_book, rejects_an_id_that_comes_back_twice_even_when_its_slot_is_lent_again) {
  lender mine(1);
  const auto first = mine.lend(1);
  ASSERT_TRUE(first && mine.book.take_back(*first));
  EXPECT_EQ(mine.book.take_back(*first).error().code, errc::corrupt);
  const auto second = mine.lend(1);  // the only slot there is
  ASSERT_TRUE(second);
  EXPECT_NE(*second, *first);
  EXPECT_EQ(mine.book.take_back(*first).error().code, errc::corrupt);
  EXPECT_EQ(mine.book.outstanding(), 1u);
  EXPECT_TRUE(mine.book.take_back(*second));
}

TEST(loan_book, rejects_ids_out_of_range_none_and_never_lent) {
  for (const std::uint32_t capacity : {1u, 3u, 1000u, 1024u, loan_book::max_capacity}) {
    lender mine(capacity);
    const auto id = mine.lend(1);
    ASSERT_TRUE(id);
    for (const body_id wrong : {0u, *id + 1, *id - 1, *id ^ 0x8000'0000u, ~*id, ~0u, capacity}) {
      if (wrong == *id) continue;
      EXPECT_EQ(mine.book.take_back(wrong).error().code, errc::corrupt) << capacity << " " << wrong;
    }
    EXPECT_EQ(mine.book.outstanding(), 1u);
    EXPECT_TRUE(mine.book.take_back(*id));
  }
}

TEST(loan_book, knows_an_id_of_a_book_that_started_elsewhere_as_foreign) {
  lender mine(16, 1);
  lender other(16, 1u << 20);
  ASSERT_TRUE(mine.lend(1));
  const auto foreign = other.lend(1);
  ASSERT_TRUE(foreign);
  EXPECT_EQ(mine.book.take_back(*foreign).error().code, errc::corrupt);
}

TEST(loan_book, is_full_at_its_capacity_and_recovers_when_one_comes_back) {
  lender mine(3);
  std::vector<body_id> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(*mine.lend(1));
  EXPECT_EQ(std::set<body_id>(ids.begin(), ids.end()).size(), 3u);
  const auto over = mine.lend(1);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, errc::full);
  EXPECT_EQ(over.error().allowed, 3u);
  EXPECT_TRUE(mine.book.take_back(ids[1]));
  EXPECT_TRUE(mine.lend(1));
}

TEST(loan_book, takes_everything_back_from_a_dead_peer) {
  lender mine(100);
  std::vector<body_id> ids;
  for (std::uint64_t i = 0; i < 50; ++i) ids.push_back(*mine.lend(i));
  for (std::size_t i = 0; i < 50; i += 2) ASSERT_TRUE(mine.book.take_back(ids[i]));
  EXPECT_EQ(mine.book.take_back_all(), 25u);
  EXPECT_EQ(mine.book.take_back_all(), 0u);
  EXPECT_EQ(mine.book.outstanding(), 0u);
  EXPECT_EQ(mine.book.outstanding_bytes(), 0u);
  EXPECT_EQ(mine.arena.stats().allocated_blocks, 0u);
  EXPECT_EQ(mine.book.take_back(ids[1]).error().code, errc::corrupt);  // late, from the dead
}

TEST(loan_book, never_gives_the_id_none_though_generations_wrap) {
  lender mine(loan_book::max_capacity, (1u << 12) - 2);  // just before the 12 bits run out
  for (int i = 0; i < 5; ++i) {
    const auto id = mine.lend(1);
    ASSERT_TRUE(id);
    EXPECT_NE(*id, 0u);
    EXPECT_TRUE(mine.book.take_back(*id));
  }
}

TEST(loan_book, lends_and_takes_back_from_many_threads) {
  lender mine(64);
  std::atomic<std::size_t> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int turn = 0; turn < 3000; ++turn) {
          const auto id = mine.lend(100);
          if (!id || !mine.book.take_back(*id)) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(mine.arena.stats().allocated_blocks, 0u);
}

}  // namespace
}  // namespace ferry
