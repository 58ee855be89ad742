#include "ring/record_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/ring/ring_fixtures.h"

#if defined(__SANITIZE_THREAD__)
#define FERRY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FERRY_TSAN 1
#endif
#endif

namespace ferry {
namespace {

constexpr std::size_t capacity = 1024;  // 16 lines; the largest inline body is 192 bytes
constexpr std::uint64_t last_lap = -std::uint64_t{capacity};  // 2^64 - capacity

struct popped {
  record_fields fields;
  std::vector<std::byte> body;
};

result<popped> pop(record_consumer<>& consumer) {
  popped out;
  const auto done = consumer.try_pop([&](const record_fields& fields, auto body) {
    out = {fields, {body.begin(), body.end()}};
  });
  if (!done) return done.error();
  return out;
}

errc pop_error(record_consumer<>& consumer) {
  const auto out = pop(consumer);
  return out ? errc{} : out.error().code;
}

errc push_error(record_producer<>& producer, std::size_t body_size = 0) {
  const auto done = producer.try_push(call_number(1), patterned(body_size, 1));
  return done ? errc{} : done.error().code;
}

TEST(record_ring, delivers_every_field_and_the_body_as_sent) {
  record_pair pair(capacity);
  record_fields sent = call_number(~std::uint64_t{0});
  sent.deadline_ns = 2;
  sent.body_size = 3;
  sent.body_offset = 4;
  sent.body_segment = 5;
  sent.body_id = 6;
  sent.function = 7;
  sent.code = 8;
  sent.flags = 9;
  sent.spare = 10;
  const auto body = patterned(100, 11);
  ASSERT_TRUE(pair.producer.try_push(sent, body));
  const auto got = pop(pair.consumer);
  ASSERT_TRUE(got);
  sent.inline_size = 100;  // set by the ring, whatever the caller put there
  EXPECT_EQ(std::memcmp(&got->fields, &sent, sizeof sent), 0);
  EXPECT_EQ(got->body, body);
  EXPECT_EQ(pop_error(pair.consumer), errc::empty);
}

TEST(record_ring, works_across_the_end_of_the_64_bit_positions) {
  for (const std::uint64_t start : {last_lap, last_lap + 64, last_lap - 64, ~std::uint64_t{63}}) {
    record_pair pair(capacity, start);
    for (std::uint64_t i = 0; i < 200; ++i) {
      const auto body = patterned(i % 193, i);
      ASSERT_TRUE(pair.producer.try_push(call_number(i), body)) << start << " " << i;
      const auto got = pop(pair.consumer);
      ASSERT_TRUE(got) << start << " " << i;
      EXPECT_EQ(got->fields.call, i);
      EXPECT_EQ(got->body, body);
      EXPECT_EQ(pop_error(pair.consumer), errc::empty);
      pair.consumer.give_back();
    }
  }
}

TEST(record_ring, holds_exactly_its_capacity_wherever_it_starts) {
  for (std::uint64_t start = last_lap; start != capacity; start += 64) {
    record_pair pair(capacity, start);
    for (std::uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(pair.producer.try_push(call_number(i)));
    EXPECT_EQ(pair.producer.in_use(), capacity);
    EXPECT_EQ(push_error(pair.producer), errc::full);
    EXPECT_EQ(pop(pair.consumer)->fields.call, 0u);
    EXPECT_EQ(push_error(pair.producer), errc::full) << "read, but not given back";
    EXPECT_TRUE(pair.consumer.give_back());
    EXPECT_EQ(push_error(pair.producer), errc{});
    EXPECT_EQ(push_error(pair.producer), errc::full);
    for (std::uint64_t i = 1; i < 16; ++i) EXPECT_EQ(pop(pair.consumer)->fields.call, i);
    EXPECT_EQ(pop(pair.consumer)->fields.call, 1u);
    EXPECT_EQ(pop_error(pair.consumer), errc::empty);
  }
}

TEST(record_ring, takes_a_short_record_into_the_last_line_but_not_a_longer_one) {
  record_pair pair(capacity, last_lap);
  for (std::uint64_t i = 0; i < 15; ++i) ASSERT_TRUE(pair.producer.try_push(call_number(i)));
  EXPECT_EQ(push_error(pair.producer, 1), errc::full);
  EXPECT_EQ(pair.producer.in_use(), 15 * 64u) << "a refused record claims nothing";
  EXPECT_EQ(push_error(pair.producer, 0), errc{});
}

TEST(record_ring, pads_only_when_a_record_does_not_fit_before_the_end) {
  for (std::uint64_t offset = 0; offset < capacity; offset += 64) {
    for (std::size_t size = 0; size <= max_inline_bytes(capacity); ++size) {
      record_pair pair(capacity, last_lap + offset);
      const std::uint64_t to_end = capacity - offset;
      const std::uint64_t needed = record_bytes(size);
      const std::uint64_t expected = needed <= to_end ? needed : to_end + needed;
      const auto body = patterned(size, offset);
      ASSERT_TRUE(pair.producer.try_push(call_number(7), body));
      ASSERT_EQ(pair.producer.in_use(), expected) << offset << " " << size;
      const auto got = pop(pair.consumer);
      ASSERT_TRUE(got) << offset << " " << size;
      ASSERT_EQ(got->body, body) << offset << " " << size;
      pair.consumer.give_back();
      ASSERT_EQ(pair.consumed.position.load(), last_lap + offset + expected);
    }
  }
}

TEST(record_ring, gives_back_padding_that_is_read_before_its_record_arrives) {
  record_pair pair(capacity, capacity - 64);
  record_fields filler;
  filler.inline_size = 0;
  pair.ring.forge(capacity - 64, filler);  // a producer between its two publishes
  EXPECT_EQ(pop_error(pair.consumer), errc::empty);
  EXPECT_TRUE(pair.consumer.give_back());
  EXPECT_EQ(pair.consumed.position.load(), capacity);
  pair.ring.forge(capacity, call_number(3));
  EXPECT_EQ(pop(pair.consumer)->fields.call, 3u);
}

TEST(record_ring, has_room_for_the_largest_body_while_less_than_an_eighth_is_held_back) {
  for (const std::uint64_t size : {1024u, 2048u, 8192u}) {
    for (std::uint64_t start = -size; start != size; start += 64) {
      record_pair pair(size, start);
      for (std::uint64_t kept = 64; kept < size / 8; kept += 64) {
        ASSERT_TRUE(pair.producer.try_push(call_number(3)));
        ASSERT_TRUE(pop(pair.consumer));
        ASSERT_FALSE(pair.consumer.owes_room());
      }
      EXPECT_EQ(push_error(pair.producer, max_inline_bytes(size)), errc{}) << size << " " << start;
    }
  }
}

TEST(record_ring, refuses_a_body_that_could_never_fit_and_says_the_limit) {
  record_pair pair(capacity);
  EXPECT_EQ(push_error(pair.producer, 192), errc{});
  const auto refused = pair.producer.try_push(call_number(1), patterned(193, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::frame_too_large);
  EXPECT_EQ(refused.error().wanted, 193u);
  EXPECT_EQ(refused.error().allowed, 192u);
  EXPECT_EQ(pair.producer.in_use(), 256u);
}

TEST(record_ring, says_once_that_room_is_news_to_the_producer) {
  record_pair pair(capacity);
  EXPECT_FALSE(pair.consumer.give_back());
  ASSERT_TRUE(pair.producer.try_push(call_number(1)));
  ASSERT_TRUE(pop(pair.consumer));
  EXPECT_FALSE(pair.consumer.owes_room());
  ASSERT_TRUE(pair.producer.try_push(call_number(1)));
  ASSERT_TRUE(pop(pair.consumer));
  EXPECT_TRUE(pair.consumer.owes_room());  // an eighth
  EXPECT_TRUE(pair.consumer.give_back());
  EXPECT_FALSE(pair.consumer.owes_room());
  EXPECT_FALSE(pair.consumer.give_back());
}

TEST(record_ring, hands_up_kinds_that_it_does_not_know) {
  record_pair pair(capacity);
  for (const std::uint8_t kind : {std::uint8_t{0}, std::uint8_t{99}, std::uint8_t{255}}) {
    record_fields fields = call_number(1);
    fields.kind = record_kind{kind};
    ASSERT_TRUE(pair.producer.try_push(fields));
    EXPECT_EQ(pop(pair.consumer)->fields.kind, record_kind{kind});
  }
}

// ---- the ready word

TEST(record_ring, never_takes_a_fresh_page_for_a_record) {
  for (const std::uint64_t key : {std::uint64_t{0}, ~std::uint64_t{0}, test_key}) {
    for (std::uint64_t start = last_lap; start != capacity; start += 64) {
      heap_ring ring(capacity);
      cursor<std_atomics> consumed{start};
      record_consumer<> consumer(ring.bytes(), consumed, key, start);
      EXPECT_FALSE(consumer.ready());
      record_consumer<> hostile(ring.bytes(), consumed, start, start);  // position ^ key == 0
      EXPECT_FALSE(hostile.ready());
    }
  }
}

// Lines that look like records to anyone who does not know the key: headers with the ready words of
// every position near `around`, for keys that an author could guess.
std::vector<std::byte> fake_records(std::uint64_t around, std::size_t lines) {
  constexpr std::uint64_t guesses[] = {0, 1, ~std::uint64_t{0}, test_key ^ 64, test_key ^ 2};
  std::vector<std::byte> body(lines * 64);
  for (std::size_t i = 0; i < lines; ++i) {
    const record_fields fields = call_number(666);
    const std::uint64_t ready = ready_word(around + i * 64, guesses[(around / 64 + i) % 5]);
    std::memcpy(&body[i * 64], &ready, 8);
    std::memcpy(&body[i * 64 + 8], &fields, sizeof fields);
  }
  return body;
}

TEST(record_ring, never_takes_the_bytes_of_a_body_for_a_record) {
  record_pair pair(capacity, last_lap - capacity);
  std::uint64_t position = last_lap - capacity;
  for (int lap = 0; lap < 12; ++lap) {
    // Three lines of fakes behind each header, then a walk over the same lines one by one.
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(
          pair.producer.try_push(call_number(1), fake_records(position + 64 + capacity, 3)));
      position += 256;
      ASSERT_EQ(pop(pair.consumer)->fields.call, 1u);
      ASSERT_EQ(pop_error(pair.consumer), errc::empty) << "lap " << lap;
      pair.consumer.give_back();
    }
    for (int i = 0; i < 16; ++i) {
      ASSERT_EQ(pop_error(pair.consumer), errc::empty) << "lap " << lap << " line " << i;
      ASSERT_TRUE(pair.producer.try_push(call_number(2)));
      position += 64;
      ASSERT_EQ(pop(pair.consumer)->fields.call, 2u);
      pair.consumer.give_back();
    }
  }
}

TEST(record_ring, never_takes_what_an_older_lap_left_for_a_record) {
  record_pair pair(capacity, last_lap - capacity);
  for (std::uint64_t i = 0; i < 16 * 6; ++i) {  // past 2^64, every line a real header of each lap
    ASSERT_EQ(pop_error(pair.consumer), errc::empty) << i;
    ASSERT_TRUE(pair.producer.try_push(call_number(i)));
    ASSERT_EQ(pop(pair.consumer)->fields.call, i);
    pair.consumer.give_back();
  }
}

TEST(record_ring, never_takes_a_short_body_on_top_of_an_older_ready_word_for_a_record) {
  // A header of lap 0 lies where lap 1 puts a body of a few bytes, and lap 2 looks for a record: of
  // the key, such an author has to hit just the bytes that differ, by chance.
  constexpr std::uint64_t line = 3 * cache_line_bytes;
  const std::uint64_t wanted = ready_word(2 * capacity + line, test_key);
  for (std::size_t size = 1; size <= cache_line_bytes; ++size) {
    record_pair pair(capacity);
    for (std::uint64_t i = 0; i < capacity / cache_line_bytes; ++i) {
      ASSERT_EQ(push_error(pair.producer), errc{});
      ASSERT_TRUE(pop(pair.consumer));
    }
    pair.consumer.give_back();
    std::vector<std::byte> body(size);
    std::memcpy(body.data(), &wanted, std::min(size, sizeof wanted));
    // Header on line 2, body on line 3; then to line 3 of the next lap.
    for (int i = 0; i < 2; ++i) ASSERT_EQ(push_error(pair.producer), errc{});
    ASSERT_TRUE(pair.producer.try_push(call_number(2), body));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(pop(pair.consumer));
    pair.consumer.give_back();
    for (std::uint64_t i = 4; i < capacity / cache_line_bytes + 3; ++i) {
      ASSERT_EQ(push_error(pair.producer), errc{});
      ASSERT_TRUE(pop(pair.consumer));
      pair.consumer.give_back();
    }
    const bool whole = size >= sizeof wanted;  // then its author knew the key
    EXPECT_EQ(pair.consumer.ready(), whole) << size;
  }
}

TEST(record_ring, never_takes_a_body_that_echoes_older_records_for_a_record) {
  record_pair pair(capacity, last_lap - capacity);
  for (int i = 0; i < 16 * 6; ++i) {
    // More than an author is ever shown: the ring's own bytes, with the right key, from before.
    const auto seen = pair.ring.bytes().subspan(static_cast<std::size_t>(i % 5) * 192, 192);
    const std::vector<std::byte> body(seen.begin(), seen.end());
    ASSERT_TRUE(pair.producer.try_push(call_number(5), body));
    ASSERT_EQ(pop(pair.consumer)->fields.call, 5u);
    ASSERT_EQ(pop_error(pair.consumer), errc::empty) << i;
    ASSERT_TRUE(pair.producer.try_push(call_number(6)));
    ASSERT_EQ(pop(pair.consumer)->fields.call, 6u);
    ASSERT_EQ(pop_error(pair.consumer), errc::empty) << i;
    pair.consumer.give_back();
  }
}

// ---- a hostile consumer

void fill(record_pair& pair) {
  while (pair.producer.try_push(call_number(1))) {
  }
}

TEST(record_ring, rejects_a_consumer_position_ahead_of_what_was_claimed_and_keeps_rejecting) {
  for (const std::uint64_t start : {std::uint64_t{0}, last_lap, last_lap + 512}) {
    for (const std::uint64_t ahead :
         {std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{capacity}, std::uint64_t{1} << 63}) {
      record_pair pair(capacity, start);
      fill(pair);
      pair.consumed.position = start + capacity + ahead;
      EXPECT_EQ(push_error(pair.producer), errc::corrupt);
      pair.consumed.position = start + 64;  // repenting does not help
      EXPECT_EQ(push_error(pair.producer), errc::corrupt);
    }
  }
}

TEST(record_ring, rejects_a_consumer_position_behind_what_was_given_back) {
  for (const std::uint64_t start : {std::uint64_t{0}, last_lap, last_lap + 512}) {
    for (const std::uint64_t behind : {std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{512},
                                       std::uint64_t{capacity}, std::uint64_t{1} << 62}) {
      record_pair pair(capacity, start);
      fill(pair);
      pair.consumed.position = start + 512;
      fill(pair);  // the producer has seen 512 lines given back
      pair.consumed.position = start + 512 - behind;
      EXPECT_EQ(push_error(pair.producer), errc::corrupt) << start << " " << behind;
      pair.consumed.position = start + capacity;
      EXPECT_EQ(push_error(pair.producer), errc::corrupt);
    }
  }
}

TEST(record_ring, stays_corrupt_for_a_record_that_would_have_fitted) {
  record_pair pair(capacity);
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(pair.producer.try_push(call_number(1)));
  pair.consumed.position = 4096;
  EXPECT_EQ(push_error(pair.producer, 1), errc::corrupt);  // two lines: looks at the position
  EXPECT_EQ(push_error(pair.producer, 0), errc::corrupt);  // one line: there was room for it
}

TEST(record_ring, takes_a_position_between_records_as_so_much_room_and_keeps_its_own_alignment) {
  record_pair pair(capacity);
  fill(pair);
  pair.consumed.position = 100;  // no record starts there; bytes 0 to 100 are free for all we care
  EXPECT_EQ(push_error(pair.producer), errc{});
  EXPECT_EQ(push_error(pair.producer), errc::full);
  pair.consumed.position = 127;
  EXPECT_EQ(push_error(pair.producer), errc::full);
  pair.consumed.position = 128;
  EXPECT_EQ(push_error(pair.producer), errc{});
  for (std::uint64_t line = 0; line < 16; ++line) {
    EXPECT_EQ(pair.ring.at(line * 64)->fields.call, 1u);
  }
}

// ---- a hostile producer

void expect_spoiled(std::uint64_t position, record_fields fields) {
  record_pair pair(capacity, position);
  pair.ring.forge(position, fields);
  int delivered = 0;
  const auto count = [&](const record_fields&, auto) { ++delivered; };
  const auto got = pair.consumer.try_pop(count);
  ASSERT_FALSE(got) << position << " " << fields.inline_size;
  EXPECT_EQ(got.error().code, errc::corrupt) << position << " " << fields.inline_size;
  pair.ring.forge(position, call_number(1));  // a good record in its place comes too late
  EXPECT_EQ(pair.consumer.try_pop(count).error().code, errc::corrupt);
  EXPECT_EQ(delivered, 0);
  EXPECT_FALSE(pair.consumer.give_back());
}

TEST(record_ring, rejects_an_inline_body_longer_than_any_honest_one) {
  for (std::uint64_t position = last_lap; position != capacity; position += 64) {
    for (const std::uint32_t size :
         {193u, 256u, 960u, 1024u, 1u << 20, 0x7fff'ffffu, 0xffff'ffc0u, 0xffff'ffffu}) {
      record_fields fields = call_number(1);
      fields.inline_size = size;
      expect_spoiled(position, fields);
    }
  }
}

TEST(record_ring, rejects_a_record_that_reaches_past_the_end_of_the_ring) {
  for (const std::uint64_t lap : {std::uint64_t{0}, last_lap}) {
    for (std::uint64_t lines_left = 1; lines_left < 4; ++lines_left) {
      const std::uint64_t position = lap + capacity - lines_left * 64;
      record_fields fields = call_number(1);
      for (std::uint64_t size = lines_left * 64 - 63; size <= 192; ++size) {
        fields.inline_size = static_cast<std::uint32_t>(size);
        expect_spoiled(position, fields);
      }
      record_pair pair(capacity, position);  // one byte less is a record
      fields.inline_size = static_cast<std::uint32_t>((lines_left - 1) * 64);
      pair.ring.forge(position, fields);
      EXPECT_TRUE(pop(pair.consumer));
    }
  }
}

TEST(record_ring, rejects_padding_that_does_not_end_where_the_ring_does) {
  for (std::uint64_t position = last_lap; position != capacity; position += 64) {
    const auto right = static_cast<std::uint32_t>(capacity - position % capacity - 64);
    record_fields filler;
    for (const std::uint32_t wrong : {right - 1, right + 1, right - 64, right + 64,
                                      right + std::uint32_t{capacity}, 0xffff'ffffu}) {
      filler.inline_size = wrong;
      expect_spoiled(position, filler);
    }
  }
}

TEST(record_ring, rejects_padding_at_the_start_so_that_no_peer_can_keep_the_reader_turning) {
  for (const std::uint64_t position : {std::uint64_t{0}, last_lap}) {
    record_fields filler;
    filler.inline_size = capacity - 64;
    expect_spoiled(position, filler);
  }
  record_pair pair(capacity, capacity - 64);  // one pad is followed, the next one is not
  pair.ring.forge(capacity - 64, {});
  record_fields whole;
  whole.inline_size = capacity - 64;
  pair.ring.forge(capacity, whole);
  EXPECT_EQ(pop_error(pair.consumer), errc::corrupt);
}

// A thread rewrites the header for as long as the reader looks at it. Whatever the reader sees, it
// acts on one copy: the body it hands over is in bounds and as long as the fields with it say.
TEST(record_ring, acts_on_one_copy_of_a_header_that_changes_under_it) {
#ifdef FERRY_TSAN
  GTEST_SKIP() << "expected: the writer races on purpose";
#endif
  constexpr std::uint64_t position = last_lap + capacity - 128;  // 64 bytes of body fit, not 65
  record_pair pair(capacity, position);
  record_fields fields = call_number(1);
  pair.ring.forge(position, fields);
  std::atomic<bool> stop = false;
  std::thread scribbler([&] {
    constexpr std::uint32_t sizes[] = {0, 64, 65, 192, 193, 0xffff'ffff, 1, 1u << 30};
    auto* header = pair.ring.at(position);
    for (std::size_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      std::atomic_ref(header->fields.inline_size).store(sizes[i % 8], std::memory_order_relaxed);
      if (i % 64 == 0) {
        std::atomic_ref(header->fields.kind)
            .store(i % 128 == 0 ? record_kind::pad : record_kind::call, std::memory_order_relaxed);
      }
    }
  });
  const std::byte* const end = pair.ring.bytes().data() + capacity;
  int taken = 0;
  int refused = 0;
  unsigned sum = 0;
  for (int i = 0; i < 500'000 || (i < 50'000'000 && (taken == 0 || refused == 0)); ++i) {
    cursor<std_atomics> consumed{position};
    record_consumer<> consumer(pair.ring.bytes(), consumed, test_key, position);
    const auto got =
        consumer.try_pop([&](const record_fields& copy, std::span<const std::byte> body) {
          ++taken;
          EXPECT_EQ(copy.inline_size, body.size());
          EXPECT_LE(copy.inline_size, 64u);
          EXPECT_LE(body.data() + body.size(), end);
          for (const std::byte b : body) sum += static_cast<unsigned>(b);
        });
    if (!got && got.error().code == errc::corrupt) ++refused;
    consumer.give_back();
    ASSERT_TRUE(consumed.position == position || consumed.position == position + 64 ||
                consumed.position == position + 128);
  }
  stop = true;
  scribbler.join();
  EXPECT_GT(taken, 0);
  EXPECT_GT(refused, 0);
  EXPECT_EQ(sum, 0u);
}

}  // namespace
}  // namespace ferry
