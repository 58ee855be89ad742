#include "ring/doorbell.h"

#include "tests/race/race_support.h"

namespace ferry {
namespace {

struct one_mapping {
  sleep_words<std_atomics> a{}, b{};  // the segments of the sleeper and of the ringer
  sleeper<> sleeps{a, b};
  ringer<> rings{b, a};
};

// Proves sync(doorbell.asleep)
TEST(doorbell_race, what_the_sleeper_did_is_seen_by_who_rings_it) {
  for (const std::uint64_t how : {on_bell, in_reactor}) {
    one_mapping shared;
    int before_raise = 0;
    std::thread sleeps([&] {
      before_raise = 1;
      shared.sleeps.raise(how);
    });
    await([&] { return shared.rings.check(news::records) != wake::none; });
    EXPECT_EQ(before_raise, 1);
    sleeps.join();
  }
}

// Proves sync(doorbell.bell)
TEST(doorbell_race, what_the_ringer_did_is_seen_by_a_sleeper_that_saw_its_ring) {
  one_mapping shared;
  int before_ring = 0;
  const std::uint32_t waits_on = shared.sleeps.raise(on_bell);
  std::thread rings([&] {
    before_ring = 1;
    EXPECT_EQ(shared.rings.check(news::records), wake::bell);
  });
  await([&] { return shared.sleeps.raise(on_bell) != waits_on; });
  EXPECT_EQ(before_ring, 1);
  rings.join();
}

// No script: two threads play ping-pong, each asleep on the other's bell whenever it finds nothing.
// The futex is a look at the bell. A lost wakeup ends the wait with a deadline.
TEST(doorbell_race, free_running_threads_lose_no_wakeup) {
  constexpr std::uint64_t rounds = 20'000;
  one_mapping shared;
  sleeper<> b_sleeps{shared.b, shared.a};
  ringer<> a_rings{shared.a, shared.b};
  cursor<std_atomics> ping{}, pong{};

  const auto sleep_until = [](sleeper<>& sleeps, const sleep_words<std_atomics>& theirs,
                              const cursor<std_atomics>& from, std::uint64_t value) {
    const auto there = [&] { return from.position.load(std::memory_order_acquire) >= value; };
    while (!there()) {
      const std::uint32_t waits_on = sleeps.raise(on_bell);
      if (!there()) {
        await([&] { return theirs.bell.load(std::memory_order_relaxed) != waits_on; });
      }
      sleeps.lower();
    }
  };
  std::thread other([&] {
    for (std::uint64_t i = 1; i <= rounds; ++i) {
      sleep_until(b_sleeps, shared.a, ping, i);
      pong.position.store(i, std::memory_order_release);
      shared.rings.check(news::records);
    }
  });
  for (std::uint64_t i = 1; i <= rounds; ++i) {
    ping.position.store(i, std::memory_order_release);
    a_rings.check(news::records);
    sleep_until(shared.sleeps, shared.b, pong, i);
  }
  other.join();
}

}  // namespace
}  // namespace ferry
