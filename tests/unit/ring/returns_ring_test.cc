#include "ring/returns_ring.h"

#include <gtest/gtest.h>

#include "tests/unit/ring/ring_fixtures.h"

namespace ferry {
namespace {

constexpr std::size_t capacity = 16;
constexpr std::uint64_t last_lap = -std::uint64_t{capacity};

errc push_error(returns_pair& pair, std::uint32_t id = 1) {
  const auto done = pair.producer.try_push(id);
  return done ? errc{} : done.error().code;
}

errc pop_error(returns_pair& pair) {
  const auto id = pair.consumer.try_pop();
  return id ? errc{} : id.error().code;
}

TEST(returns_ring, brings_back_any_id_in_order) {
  returns_pair pair(capacity);
  const std::uint32_t ids[] = {0, 1, 0x8000'0000, 0xffff'ffff, 7};
  for (const std::uint32_t id : ids) ASSERT_TRUE(pair.producer.try_push(id));
  for (const std::uint32_t id : ids) EXPECT_EQ(*pair.consumer.try_pop(), id);
  EXPECT_EQ(pop_error(pair), errc::empty);
}

TEST(returns_ring, works_across_the_end_of_the_64_bit_positions) {
  for (const std::size_t cells : {1u, 2u, 8u, 16u, 64u}) {
    for (const std::uint64_t start :
         {-std::uint64_t{cells}, -std::uint64_t{cells} - 1, ~std::uint64_t{0}, std::uint64_t{0}}) {
      returns_pair pair(cells, start);
      for (std::uint32_t i = 0; i < 300; ++i) {
        ASSERT_EQ(pop_error(pair), errc::empty) << cells << " " << start << " " << i;
        ASSERT_TRUE(pair.producer.try_push(i)) << cells << " " << start << " " << i;
        ASSERT_EQ(*pair.consumer.try_pop(), i);
      }
    }
  }
}

TEST(returns_ring, is_full_at_exactly_its_capacity_wherever_it_starts) {
  for (std::uint64_t start = last_lap; start != capacity; ++start) {
    returns_pair pair(capacity, start);
    for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(pair.producer.try_push(i));
    EXPECT_EQ(push_error(pair), errc::full);
    EXPECT_EQ(*pair.consumer.try_pop(), 0u);
    EXPECT_EQ(push_error(pair), errc::full) << "one of an eighth (two): not given back yet";
    EXPECT_EQ(*pair.consumer.try_pop(), 1u);
    EXPECT_EQ(push_error(pair), errc{});
    EXPECT_EQ(push_error(pair), errc{});
    EXPECT_EQ(push_error(pair), errc::full);
  }
}

TEST(returns_ring, gives_back_less_than_an_eighth_when_asked) {
  returns_pair pair(64);
  for (std::uint32_t i = 0; i < 64; ++i) ASSERT_TRUE(pair.producer.try_push(i));
  ASSERT_TRUE(pair.consumer.try_pop());
  EXPECT_EQ(push_error(pair), errc::full);
  pair.consumer.give_back();
  EXPECT_EQ(push_error(pair), errc{});
}

TEST(returns_ring, tags_every_lap_oddly_and_unlike_the_lap_before) {
  for (const std::uint64_t cells : {std::uint64_t{1}, std::uint64_t{16}, std::uint64_t{1} << 20}) {
    for (const std::uint64_t lap : {std::uint64_t{0}, cells, std::uint64_t{1} << 40, -cells}) {
      EXPECT_EQ(lap_tag(lap, cells) & 1, 1u);  // so never the zero of a fresh page
      EXPECT_EQ(lap_tag(lap + cells - 1, cells), lap_tag(lap, cells));
      EXPECT_EQ(static_cast<std::uint32_t>(lap_tag(lap, cells) - lap_tag(lap - cells, cells)), 2u);
    }
  }
}

TEST(returns_ring, takes_no_cell_of_another_lap) {
  for (const std::uint64_t start : {std::uint64_t{0}, last_lap, std::uint64_t{capacity} << 31}) {
    returns_pair pair(capacity, start);
    const std::uint64_t right = lap_tag(start, capacity);
    for (const std::uint64_t tag : {std::uint64_t{0}, right - 2, right + 2, right ^ 1, ~right}) {
      pair.cells[0].store(tag << 32 | 5);
      EXPECT_EQ(pop_error(pair), errc::empty);
    }
    pair.cells[0].store(right << 32 | 5);
    EXPECT_EQ(*pair.consumer.try_pop(), 5u);
  }
}

TEST(returns_ring, rejects_impossible_positions_of_the_owner_and_keeps_rejecting) {
  for (std::uint64_t start = last_lap; start != capacity; ++start) {
    for (const std::uint64_t wrong :
         {start + 17, start + 32, start - 1, start - 16, start + (std::uint64_t{1} << 63)}) {
      returns_pair pair(capacity, start);
      for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(pair.producer.try_push(i));
      pair.consumed.position = wrong;
      EXPECT_EQ(push_error(pair), errc::corrupt) << start << " " << wrong;
      pair.consumed.position = start + 16;
      EXPECT_EQ(push_error(pair), errc::corrupt);
    }
  }
}

TEST(returns_ring, rejects_an_owner_that_takes_room_back) {
  returns_pair pair(capacity, last_lap);
  for (std::uint32_t i = 0; i < capacity; ++i) ASSERT_TRUE(pair.producer.try_push(i));
  pair.consumed.position = last_lap + 4;
  for (int i = 0; i < 4; ++i) ASSERT_EQ(push_error(pair), errc{});
  pair.consumed.position = last_lap + 3;
  EXPECT_EQ(push_error(pair), errc::corrupt);
}

}  // namespace
}  // namespace ferry
