#include "ring/returns_ring.h"

#include <utility>

#include "tests/race/race_support.h"

namespace ferry {
namespace {

constexpr std::size_t capacity = 8;  // an eighth is one cell: each pop gives room back

struct one_mapping {
  std::vector<return_cell<std_atomics>> cells = std::vector<return_cell<std_atomics>>(capacity);
  cursor<std_atomics> consumed{};
  returns_producer<> producer{cells, consumed};
  returns_consumer<> consumer{cells, consumed};
};

std::uint32_t take(returns_consumer<>& consumer) {
  std::uint32_t id = 0;
  await([&] {
    const auto got = consumer.try_pop();
    if (got) id = *got;
    return got.has_value();
  });
  return id;
}

// Proves sync(returns.cell)
TEST(returns_ring_race, a_body_is_read_before_its_owner_writes_it_again) {
  one_mapping shared;
  std::vector<int> bodies = {1, 2, 3, 4};  // the owner's memory, lent to the reader
  int sum = 0;
  std::thread reader([&] {
    for (std::uint32_t id = 0; id < 4; ++id) {
      sum += bodies[id];
      EXPECT_TRUE(shared.producer.try_push(id));
    }
  });
  for (int i = 0; i < 4; ++i) bodies[take(shared.consumer)] = 0;
  reader.join();
  EXPECT_EQ(sum, 10);
  EXPECT_EQ(bodies, std::vector<int>(4, 0));
}

// A push into a cell that was popped before: what the owner did before that pop is over.
// Proves sync(ring.free)
TEST(returns_ring_race, what_the_owner_did_before_a_pop_is_seen_by_who_reuses_the_cell) {
  one_mapping shared;
  constexpr std::uint32_t count = 40;
  std::vector<std::uint32_t> before_pop(count);
  std::thread reader([&] {
    for (std::uint32_t i = 0; i < count; ++i) {
      await([&] { return shared.producer.try_push(i).has_value(); });
      if (i >= capacity) {
        EXPECT_EQ(before_pop[i - capacity], i - capacity + 1);
      }
    }
  });
  for (std::uint32_t i = 0; i < count; ++i) {
    before_pop[i] = i + 1;
    EXPECT_EQ(take(shared.consumer), i);
  }
  reader.join();
}

// Proves sync(room.freed)
TEST(returns_ring_race, a_cell_that_one_thread_saw_free_is_free_for_the_next) {
  one_mapping shared;
  turns turn;
  int before_pops = 0;
  std::thread first([&] {
    for (std::uint32_t i = 0; i < capacity; ++i) EXPECT_TRUE(shared.producer.try_push(i));
    turn.pass_to(1);
    turn.wait_for(2);
    EXPECT_TRUE(shared.producer.try_push(8));  // full by what it knows: looks
    turn.pass_to(3);
  });
  std::thread second([&] {
    turn.wait_for(3);
    EXPECT_TRUE(shared.producer.try_push(9));  // takes what the first saw
    EXPECT_EQ(before_pops, 1);
  });
  turn.wait_for(1);
  before_pops = 1;
  for (std::uint32_t i = 0; i < capacity; ++i) EXPECT_EQ(take(shared.consumer), i);
  turn.pass_to(2);
  first.join();
  second.join();
  EXPECT_EQ(take(shared.consumer), 8u);
  EXPECT_EQ(take(shared.consumer), 9u);
}

TEST(returns_ring_race, free_running_threads_return_every_body_once) {
  const std::uint64_t seed = printed_seed();
  constexpr std::uint32_t bodies_each = 40'000;
  one_mapping shared;
  std::vector<int> bodies(2 * bodies_each, 1);
  const auto read_bodies = [&](std::uint32_t who) {
    std::mt19937_64 random(seed + who);
    for (std::uint32_t i = 0; i < bodies_each; ++i) {
      const std::uint32_t id = who * bodies_each + i;
      EXPECT_EQ(bodies[id], 1);
      await([&] { return shared.producer.try_push(id).has_value(); });
      if (random() % 64 == 0) std::this_thread::yield();
    }
  };
  std::thread first(read_bodies, 0);
  std::thread second(read_bodies, 1);
  for (std::uint32_t i = 0; i < 2 * bodies_each; ++i) {
    const std::uint32_t id = take(shared.consumer);
    if (id >= bodies.size()) {
      ADD_FAILURE() << "no such body: " << id;
    } else {
      EXPECT_EQ(std::exchange(bodies[id], 2), 1) << id;
    }
  }
  first.join();
  second.join();
}

}  // namespace
}  // namespace ferry
