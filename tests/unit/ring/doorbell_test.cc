#include "ring/doorbell.h"

#include <gtest/gtest.h>

namespace ferry {
namespace {

struct two_sides {
  sleep_words<std_atomics> a{}, b{};  // the segments of a sleeper and of its ringer
  sleeper<> sleeps{a, b};
  ringer<> rings{b, a};
};

TEST(doorbell, rings_nobody_who_is_awake) {
  two_sides sides;
  EXPECT_EQ(sides.rings.check(news::records), wake::none);
  EXPECT_EQ(sides.rings.check(news::room), wake::none);
  EXPECT_EQ(sides.b.bell, 0u);
}

TEST(doorbell, rings_a_sleeper_on_the_bell_by_changing_the_value_it_waits_on) {
  two_sides sides;
  const std::uint32_t waits_on = sides.sleeps.raise(on_bell);
  EXPECT_EQ(sides.b.bell, waits_on);
  EXPECT_EQ(sides.rings.check(news::records), wake::bell);
  EXPECT_NE(sides.b.bell, waits_on);
}

TEST(doorbell, sends_a_packet_to_a_sleeper_in_the_reactor_and_leaves_the_bell_alone) {
  two_sides sides;
  const std::uint32_t bell = sides.sleeps.raise(in_reactor);
  EXPECT_EQ(sides.rings.check(news::records), wake::packet);
  EXPECT_EQ(sides.b.bell, bell);
}

TEST(doorbell, rings_once_per_sleep) {
  for (const std::uint64_t how : {on_bell, in_reactor}) {
    two_sides sides;
    for (int sleep = 0; sleep < 5; ++sleep) {
      const std::uint32_t waits_on = sides.sleeps.raise(how);
      EXPECT_EQ(sides.rings.check(news::records), how == on_bell ? wake::bell : wake::packet);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(sides.rings.check(news::records), wake::none);
      EXPECT_EQ(sides.b.bell, waits_on + (how == on_bell ? 1 : 0));
      if (sleep % 2 == 0) {  // with and without a look at the word in between
        sides.sleeps.lower();
        EXPECT_EQ(sides.rings.check(news::records), wake::none);
      }
    }
  }
}

TEST(doorbell, rings_for_room_only_those_who_want_room) {
  for (const std::uint64_t how : {on_bell, in_reactor}) {
    two_sides sides;
    sides.sleeps.raise(how);
    EXPECT_EQ(sides.rings.check(news::room), wake::none);
    EXPECT_NE(sides.rings.check(news::records), wake::none) << "the look for room used up no ring";

    sides.sleeps.raise(how | wants_room);
    EXPECT_NE(sides.rings.check(news::room), wake::none);
    EXPECT_EQ(sides.rings.check(news::records), wake::none) << "one ring for either news";
  }
}

TEST(doorbell, rings_again_for_a_sleep_that_changes_its_mode) {
  two_sides sides;
  const std::uint32_t waits_on = sides.sleeps.raise(on_bell);
  sides.sleeps.raise(in_reactor);  // the slice on the bell is over
  EXPECT_EQ(sides.rings.check(news::records), wake::packet);
  sides.sleeps.raise(on_bell);
  EXPECT_EQ(sides.rings.check(news::records), wake::bell);
  EXPECT_EQ(sides.b.bell, waits_on + 1);
}

TEST(doorbell, shows_the_mode_below_an_epoch_that_grows_with_every_sleep) {
  two_sides sides;
  std::uint64_t before = 0;
  for (const std::uint64_t how :
       {std::uint64_t{on_bell}, std::uint64_t{in_reactor}, std::uint64_t{on_bell | wants_room},
        std::uint64_t{in_reactor | wants_room}}) {
    sides.sleeps.raise(how);
    const std::uint64_t word = sides.a.asleep;
    EXPECT_EQ(word % sleep_epoch, how);
    EXPECT_EQ(word / sleep_epoch, before / sleep_epoch + 1);
    before = word;
    sides.sleeps.lower();
    EXPECT_EQ(sides.a.asleep, awake);
  }
}

TEST(doorbell, takes_a_glance_for_the_ring_of_that_sleep) {
  two_sides sides;
  EXPECT_EQ(sides.rings.glance(news::records), wake::none);
  sides.sleeps.raise(on_bell);
  EXPECT_EQ(sides.rings.glance(news::room), wake::none);
  EXPECT_EQ(sides.rings.glance(news::records), wake::bell);
  EXPECT_EQ(sides.rings.check(news::records), wake::none);
  sides.sleeps.raise(in_reactor);
  EXPECT_EQ(sides.rings.check(news::records), wake::packet);
  EXPECT_EQ(sides.rings.glance(news::records), wake::none);
}

TEST(doorbell, counts_its_rings_past_the_end_of_32_bits) {
  two_sides sides;
  sides.b.bell = 0xffff'ffff;
  EXPECT_EQ(sides.sleeps.raise(on_bell), 0xffff'ffffu);
  EXPECT_EQ(sides.rings.check(news::records), wake::bell);
  EXPECT_EQ(sides.b.bell, 0u);
  EXPECT_EQ(sides.sleeps.raise(on_bell), 0u);
}

TEST(doorbell, survives_any_word_that_a_hostile_sleeper_could_show) {
  // It can make us ring it, or not; it can do no more.
  two_sides sides;
  for (const std::uint64_t word : {std::uint64_t{on_bell | in_reactor}, std::uint64_t{wants_room},
                                   std::uint64_t{sleep_epoch}, ~std::uint64_t{0}}) {
    sides.a.asleep = word;
    const std::uint32_t bell = sides.b.bell;
    const wake first = sides.rings.check(news::records);
    EXPECT_EQ(sides.b.bell, bell + (first == wake::bell ? 1 : 0));
    EXPECT_EQ(sides.rings.check(news::records), wake::none);
  }
}

}  // namespace
}  // namespace ferry
