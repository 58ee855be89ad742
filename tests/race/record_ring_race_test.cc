#include "ring/record_ring.h"

#include <array>
#include <cstring>

#include "tests/race/race_support.h"

namespace ferry {
namespace {

constexpr std::size_t capacity = 1024;  // 16 lines: wraps within a few records
constexpr std::uint64_t key = 0x0123'4567'89ab'cdef;

struct one_mapping {
  std::vector<ring_line> lines{capacity / cache_line_bytes};
  std::span<std::byte> bytes = std::as_writable_bytes(std::span(lines));
  cursor<std_atomics> consumed{};
  record_producer<> producer{bytes, consumed, key};
  record_consumer<> consumer{bytes, consumed, key};
};

record_fields numbered(std::uint64_t call) {
  record_fields fields;
  fields.kind = record_kind::call;
  fields.call = call;
  return fields;
}

// Waits until the record is there, takes it, sums its body.
std::uint64_t take(record_consumer<>& consumer, std::uint64_t& sum) {
  std::uint64_t call = 0;
  await([&] {
    return consumer
        .try_pop([&](const record_fields& fields, std::span<const std::byte> body) {
          call = fields.call;
          for (const std::byte b : body) sum += static_cast<std::uint64_t>(b);
        })
        .has_value();
  });
  return call;
}

// Proves sync(ring.record)
TEST(record_ring_race, what_was_written_is_what_is_read) {
  one_mapping shared;
  constexpr std::uint64_t count = 3;  // fewer than a lap: no other edge comes into play
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < count; ++i) {
      std::array<std::byte, 100> body;
      body.fill(std::byte{1});
      EXPECT_TRUE(shared.producer.try_push(numbered(i), body));
    }
  });
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) EXPECT_EQ(take(shared.consumer, sum), i);
  EXPECT_EQ(sum, count * 100);
  writer.join();
}

// Proves sync(ring.free)
TEST(record_ring_race, nothing_is_overwritten_before_it_is_read) {
  one_mapping shared;
  constexpr std::uint64_t count = 100;
  std::thread writer([&] {
    std::array<std::byte, 150> body;
    body.fill(std::byte{1});
    for (std::uint64_t i = 0; i < count; ++i) {
      await([&] { return shared.producer.try_push(numbered(i), body).has_value(); });
    }
  });
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    EXPECT_EQ(take(shared.consumer, sum), i);
    if (shared.consumer.owes_room()) shared.consumer.give_back();
  }
  EXPECT_EQ(sum, count * 150);
  writer.join();
}

// One producer sees room given back; the other takes of that room without a look of its own, so all
// it knows of the consumer's reads comes from the first.
// Proves sync(room.freed)
TEST(record_ring_race, room_that_one_thread_saw_is_free_for_the_next) {
  one_mapping shared;
  turns turn;
  std::thread first([&] {
    for (std::uint64_t i = 0; i < 16; ++i) EXPECT_TRUE(shared.producer.try_push(numbered(i)));
    turn.pass_to(1);
    turn.wait_for(2);
    EXPECT_TRUE(shared.producer.try_push(numbered(16)));  // full by what it knows: looks
    turn.pass_to(3);
  });
  std::thread second([&] {
    turn.wait_for(3);
    EXPECT_TRUE(shared.producer.try_push(numbered(17)));  // over a record of the lap before
    turn.pass_to(4);
  });
  turn.wait_for(1);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(take(shared.consumer, sum), i);
  shared.consumer.give_back();
  turn.pass_to(2);
  turn.wait_for(4);
  for (std::uint64_t i = 16; i < 18; ++i) EXPECT_EQ(take(shared.consumer, sum), i);
  first.join();
  second.join();
}

// No script: three threads run freely, with bodies and pauses of any size.
TEST(record_ring_race, records_of_free_running_threads_arrive_whole_and_in_each_threads_order) {
  const std::uint64_t seed = printed_seed();
  constexpr std::uint64_t count = 20'000;
  one_mapping shared;
  const auto produce = [&](std::uint64_t who) {
    std::mt19937_64 random(seed + who);
    std::array<std::byte, 192> body;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::size_t size = random() % 193;
      record_fields fields = numbered(i);
      fields.function = static_cast<std::uint32_t>(who);
      std::memset(body.data(), static_cast<int>(i & 0xff), size);
      await([&] { return shared.producer.try_push(fields, {body.data(), size}).has_value(); });
    }
  };
  std::thread first(produce, 0);
  std::thread second(produce, 1);
  std::array<std::uint64_t, 2> next{};
  std::mt19937_64 random(seed + 2);
  while (next[0] + next[1] < 2 * count) {
    const auto got =
        shared.consumer.try_pop([&](const record_fields& fields, std::span<const std::byte> body) {
          ASSERT_LT(fields.function, 2u);
          ASSERT_EQ(fields.call, next[fields.function]++);
          ASSERT_EQ(fields.inline_size, body.size());
          for (const std::byte b : body) ASSERT_EQ(b, static_cast<std::byte>(fields.call & 0xff));
        });
    ASSERT_TRUE(got || got.error().code == errc::empty);
    if (HasFatalFailure()) break;
    if (shared.consumer.owes_room() || (!got && random() % 4 == 0)) shared.consumer.give_back();
    if (!got) std::this_thread::yield();
  }
  first.join();
  second.join();
  EXPECT_EQ(next[0] + next[1], 2 * count);
}

}  // namespace
}  // namespace ferry
