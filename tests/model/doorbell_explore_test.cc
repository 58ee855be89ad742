// Going to sleep and ringing, as ring/doorbell.h does it, around a real record ring: no
// interleaving and no store buffer may leave news behind while the sleeper sleeps and nobody will
// ring.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "ring/doorbell.h"
#include "ring/record_ring.h"
#include "tests/model/explore.h"

namespace ferry {
namespace {

using explore::atomics;
using explore::world;

constexpr std::size_t capacity = 1024;

// The kernel: a futex on the bell and a socket. Both calls are one step, as they are under the
// kernel's locks; neither empties a store buffer here, though on x86 they happen to.
struct kernel {
  int asleep_on_bell = 0;
  int packets = 0;

  void futex_wait(const atomics::atomic<std::uint32_t>& word, std::uint32_t value) {
    world* w = world::current();
    w->step();
    if (word.memory() != value) return;
    ++asleep_on_bell;
    w->wait_until("sleeps on the bell", [this] { return asleep_on_bell == 0; });
  }
  void futex_wake() {
    world::current()->step();
    asleep_on_bell = 0;
  }
  void poll() {
    world::current()->wait_until("sleeps in the reactor", [this] { return packets != 0; });
    packets = 0;
  }
  void send() {
    world::current()->step();
    ++packets;
  }
  void carry_out(wake what) {
    if (what == wake::bell) futex_wake();
    if (what == wake::packet) send();
  }
};

struct lines {
  struct alignas(64) line {
    std::byte bytes[64];
  };
  std::vector<line> storage = std::vector<line>(capacity / sizeof(line));
  std::span<std::byte> bytes = std::as_writable_bytes(std::span(storage));
};

struct sides {  // a reader that sleeps, writers that ring
  kernel system;
  lines ring;
  cursor<atomics> consumed{0};
  sleep_words<atomics> reader_words{0, 0, 0}, writer_words{0, 0, 0};
  record_producer<atomics> producer{ring.bytes, consumed, 77};
  record_consumer<atomics> consumer{ring.bytes, consumed, 77};
  sleeper<atomics> sleeps{reader_words, writer_words};
  ringer<atomics> rings{writer_words, reader_words};
  sleeper<atomics> producer_sleeps{writer_words, reader_words};  // the other way round
  ringer<atomics> consumer_rings{reader_words, writer_words};

  void name_all(world& w) const {
    w.name(&reader_words.asleep, "reader.asleep");
    w.name(&writer_words.asleep, "writer.asleep");
    w.name(&reader_words.bell, "reader.bell");
    w.name(&writer_words.bell, "writer.bell");
    w.name(&consumed, "consumed");
    for (std::size_t i = 0; i < ring.storage.size(); ++i) {
      w.name(&ring.storage[i], "ready[" + std::to_string(i) + "]");
    }
  }

  void write(int records, bool glances) {
    for (int i = 0; i < records; ++i) {
      record_fields fields;
      fields.kind = record_kind::call;
      if (!producer.try_push(fields)) world::current()->fail("no room");
      if (glances) system.carry_out(rings.glance(news::records));
      system.carry_out(rings.check(news::records));
    }
  }
  bool take() {
    return consumer.try_pop([](const record_fields&, auto) {}).has_value();
  }
  // One sleep, if nothing has come. A slice on the bell ends by itself, and the reactor is next.
  void sleep(std::uint64_t how, bool slice_ends) {
    const std::uint32_t bell = sleeps.raise(how);
    if (!consumer.ready()) {
      if (how == in_reactor) {
        system.poll();
      } else if (slice_ends) {
        world::current()->step();
      } else {
        system.futex_wait(writer_words.bell, bell);
      }
    }
    sleeps.lower();
  }
};

enum class sleeping { on_the_bell, in_the_reactor, bell_then_reactor };

struct scenario {
  sleeping how = sleeping::on_the_bell;
  int writers = 1;
  int records_each = 1;
  std::vector<std::string> without_fence = {};
  bool glances = false;  // before each check
};

explore::outcome explore_sleep(const explore::limits& within, const scenario& what) {
  return explore::explore(within, [&](world& w) {
    auto s = std::make_shared<sides>();
    s->name_all(w);
    for (const std::string& name : what.without_fence) w.drop_fences_of(name);
    w.spawn("reader", [s, what] {
      int taken = 0;
      for (int round = 0; taken < what.writers * what.records_each; ++round) {
        if (s->take()) {
          ++taken;
        } else if (what.how == sleeping::bell_then_reactor) {
          s->sleep(round % 2 == 0 ? on_bell : in_reactor, true);
        } else {
          s->sleep(what.how == sleeping::on_the_bell ? on_bell : in_reactor, false);
        }
      }
    });
    for (int i = 0; i < what.writers; ++i) {
      w.spawn("writer" + std::to_string(i),
              [s, what] { s->write(what.records_each, what.glances); });
    }
    if (what.writers == 1) {
      w.quiet(&s->producer, sizeof s->producer);
      w.quiet(&s->rings, sizeof s->rings);
    }
  });
}

void expect_no_loss(const explore::limits& within, const scenario& what) {
  const explore::outcome out = explore_sleep(within, what);
  EXPECT_EQ(out.failure, "");
  EXPECT_TRUE(out.complete) << "gave up after " << out.runs << " runs";
  std::printf("%llu runs\n", static_cast<unsigned long long>(out.runs));
}

TEST(doorbell_explore, no_interleaving_loses_the_wakeup_for_one_record) {
  expect_no_loss({}, {sleeping::on_the_bell});
  expect_no_loss({}, {sleeping::in_the_reactor});
  expect_no_loss({}, {sleeping::bell_then_reactor});
}

TEST(doorbell_explore, no_interleaving_loses_a_wakeup_between_two_records) {
  expect_no_loss({.preemptions = 5}, {sleeping::on_the_bell, 1, 2});
  expect_no_loss({.preemptions = 5}, {sleeping::in_the_reactor, 1, 2});
}

TEST(doorbell_explore, two_writers_that_share_a_bell_lose_no_wakeup) {
  expect_no_loss({.preemptions = 3}, {sleeping::on_the_bell, 2, 1});
  expect_no_loss({.preemptions = 3}, {sleeping::in_the_reactor, 2, 1});
  expect_no_loss({.preemptions = 2}, {sleeping::on_the_bell, 2, 2});
}

TEST(doorbell_explore, a_glance_before_the_check_loses_no_wakeup) {
  for (const sleeping how : {sleeping::on_the_bell, sleeping::in_the_reactor}) {
    expect_no_loss({.preemptions = 5}, {how, 1, 1, {}, true});
    expect_no_loss({.preemptions = 2}, {how, 2, 1, {}, true});
  }
}

TEST(doorbell_explore, finds_the_lost_wakeup_when_a_fence_is_dropped) {
  for (const sleeping how : {sleeping::on_the_bell, sleeping::in_the_reactor}) {
    for (const auto& who :
         {std::vector<std::string>{"reader"}, {"writer0"}, {"reader", "writer0"}}) {
      const explore::outcome out = explore_sleep({}, {how, 1, 1, who});
      EXPECT_NE(out.failure.find("reader sleeps for ever"), std::string::npos)
          << who[0] << ": " << out.failure;
    }
  }
}

// A writer that sleeps because the ring is full, and the reader that makes room.
explore::outcome explore_room(std::uint64_t how,
                              const std::vector<std::string>& without_fence = {}) {
  return explore::explore({.preemptions = 4}, [&](world& w) {
    auto s = std::make_shared<sides>();
    s->name_all(w);
    for (const std::string& name : without_fence) w.drop_fences_of(name);
    w.quiet(&s->producer, sizeof s->producer);
    w.quiet(&s->consumer_rings, sizeof s->consumer_rings);
    w.spawn("writer", [s, how] {
      record_fields fields;
      fields.kind = record_kind::call;
      for (int i = 0; i < 17; ++i) {  // one more than fits
        while (!s->producer.try_push(fields)) {
          const std::uint32_t bell = s->producer_sleeps.raise(how);
          if (s->producer.try_push(fields)) {
            s->producer_sleeps.lower();
            break;
          }
          s->system.futex_wait(s->reader_words.bell, bell);
          s->producer_sleeps.lower();
        }
      }
    });
    w.spawn("reader", [s] {
      for (;;) {
        const std::uint64_t seen = world::current()->version();
        if (s->take()) break;
        world::current()->wait_for_change(seen);
      }
      s->consumer.give_back();
      s->system.carry_out(s->consumer_rings.check(news::room));
    });
  });
}

TEST(doorbell_explore, room_given_back_wakes_a_writer_that_wants_room) {
  const explore::outcome out = explore_room(on_bell | wants_room);
  EXPECT_EQ(out.failure, "");
  EXPECT_TRUE(out.complete);
  std::printf("%llu runs\n", static_cast<unsigned long long>(out.runs));
}

TEST(doorbell_explore, finds_the_writer_that_forgot_to_say_that_it_wants_room) {
  EXPECT_NE(explore_room(on_bell).failure.find("writer sleeps for ever"), std::string::npos);
}

TEST(doorbell_explore, finds_the_lost_room_when_a_fence_is_dropped) {
  for (const auto& who : {std::vector<std::string>{"reader"}, {"writer"}}) {
    EXPECT_NE(explore_room(on_bell | wants_room, who).failure.find("writer sleeps for ever"),
              std::string::npos)
        << who[0];
  }
}

}  // namespace
}  // namespace ferry
