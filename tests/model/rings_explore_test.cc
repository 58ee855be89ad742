// Two producer threads and one consumer on rings so small that they wrap within a run. The search
// is bounded: it departs from the plain schedule at most as often as each test says.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "ring/record_ring.h"
#include "ring/returns_ring.h"
#include "tests/model/explore.h"

namespace ferry {
namespace {

using explore::atomics;
using explore::world;

template <class Try>  // retries after each change of memory; Try says whether it is done
void until(Try attempt) {
  for (;;) {
    const std::uint64_t seen = world::current()->version();
    if (attempt()) return;
    world::current()->wait_for_change(seen);
  }
}

void must_be(errc got, errc expected) {
  if (got != expected)
    world::current()->fail(std::string("an honest peer is ") + name_of(got).data());
}

struct record_sides {
  static constexpr std::size_t capacity = 1024;
  struct alignas(64) line {
    std::byte bytes[64];
  };
  explicit record_sides(std::uint64_t start)
      : consumed{start},
        producer(bytes, consumed, 99, start),
        consumer(bytes, consumed, 99, start) {}

  std::vector<line> storage = std::vector<line>(capacity / sizeof(line));
  std::span<std::byte> bytes = std::as_writable_bytes(std::span(storage));
  cursor<atomics> consumed;
  record_producer<atomics> producer;
  record_consumer<atomics> consumer;
  std::array<std::uint64_t, 2> next{};  // record expected of each producer

  result<void> push(std::uint32_t who, std::uint64_t call) {
    record_fields fields;
    fields.kind = record_kind::call;
    fields.function = who;
    fields.call = call;
    std::array<std::byte, 192> body;  // four records fill the ring
    body.fill(static_cast<std::byte>(who * 16 + call + 1));
    return producer.try_push(fields, body);
  }
  result<void> pop() {
    return consumer.try_pop([&](const record_fields& f, std::span<const std::byte> body) {
      std::array<std::byte, 192> copy{};
      bool right = f.function < 2 && body.size() == copy.size() && f.call == next[f.function]++;
      if (right) atomics::read(copy.data(), body.data(), body.size());
      for (std::size_t i = 0; right && i < copy.size(); ++i) {
        right = copy[i] == static_cast<std::byte>(f.function * 16 + f.call + 1);
      }
      if (!right) world::current()->fail("a record that nobody sent");
    });
  }
};

// Producer 0 has sent `before` records already; then each sends `each` and the consumer takes all.
void expect_all_arrive(int deviations, std::uint64_t start, std::uint64_t before,
                       std::uint64_t each) {
  const auto out = explore::explore({.deviations = deviations}, [=](world& w) {
    auto s = std::make_shared<record_sides>(start);
    for (std::uint64_t i = 0; i < before; ++i) EXPECT_TRUE(s->push(0, i));
    for (std::uint32_t who = 0; who < 2; ++who) {
      w.spawn("producer" + std::to_string(who), [=] {
        for (std::uint64_t i = 0; i < each; ++i) {
          until([&] {
            const auto done = s->push(who, who == 0 ? before + i : i);
            if (!done) must_be(done.error().code, errc::full);
            return done.has_value();
          });
        }
      });
    }
    w.spawn("consumer", [=] {
      for (std::uint64_t taken = 0; taken < before + 2 * each; ++taken) {
        until([&] {
          const auto got = s->pop();
          if (!got) must_be(got.error().code, errc::empty);
          return got.has_value();
        });
        if (s->consumer.owes_room()) s->consumer.give_back();
      }
    });
  });
  EXPECT_EQ(out.failure, "");
  EXPECT_TRUE(out.complete);
  std::printf("%llu runs\n", static_cast<unsigned long long>(out.runs));
}

TEST(rings_explore, two_producers_wrap_a_record_ring_without_loss_tear_or_false_alarm) {
  expect_all_arrive(2, 0, 0, 3);
}

TEST(rings_explore, two_producers_share_the_room_of_a_full_ring_without_tear_or_false_alarm) {
  expect_all_arrive(3, -std::uint64_t{512}, 4, 1);
}

TEST(rings_explore, two_producers_pad_the_end_of_a_record_ring_without_tear_or_false_alarm) {
  expect_all_arrive(3, 1024 - 64, 2, 1);
}

struct returns_sides {
  explicit returns_sides(std::uint64_t start)
      : consumed{start}, producer(cells, consumed, start), consumer(cells, consumed, start) {}
  std::vector<return_cell<atomics>> cells = std::vector<return_cell<atomics>>(2);
  cursor<atomics> consumed;
  returns_producer<atomics> producer;
  returns_consumer<atomics> consumer;
  std::array<int, 6> returned{};
};

TEST(rings_explore, two_readers_return_every_body_once_through_two_cells) {
  for (const std::uint64_t start : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    const auto out = explore::explore({.deviations = 3}, [=](world& w) {
      auto s = std::make_shared<returns_sides>(start);
      for (std::uint32_t who = 0; who < 2; ++who) {
        w.spawn("reader" + std::to_string(who), [=] {
          for (std::uint32_t i = 0; i < 2; ++i) {
            until([&] {
              const auto done = s->producer.try_push(who * 3 + i);
              if (!done) must_be(done.error().code, errc::full);
              return done.has_value();
            });
          }
        });
      }
      w.spawn("owner", [=] {
        for (int taken = 0; taken < 4; ++taken) {
          until([&] {
            const auto id = s->consumer.try_pop();
            if (id && (*id >= 6 || ++s->returned[*id] != 1)) {
              world::current()->fail("an id that was not returned, or was before");
            }
            return id.has_value();
          });
        }
      });
    });
    EXPECT_EQ(out.failure, "");
    EXPECT_TRUE(out.complete);
    std::printf("%llu runs\n", static_cast<unsigned long long>(out.runs));
  }
}

}  // namespace
}  // namespace ferry
