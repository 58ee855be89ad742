#include "engine/session/spin_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace ferry {
namespace {

constexpr std::int64_t limit = 300'000;

spin_policy after(std::int64_t waited_ns, int times, std::int64_t limit_ns = limit) {
  spin_policy policy(limit_ns);
  for (int i = 0; i < times; ++i) policy.came_after(waited_ns);
  return policy;
}

TEST(spin_policy, spins_for_twice_what_the_news_lately_took_within_its_bounds) {
  struct row {
    std::int64_t waited_ns;
    std::int64_t least, most;  // of the budget after many such waits
  };
  for (const auto& [waited, least, most] : std::vector<row>{
           {0, spin_policy::floor_ns, spin_policy::floor_ns},
           {1'000, spin_policy::floor_ns, spin_policy::floor_ns},
           {25'000, spin_policy::floor_ns, spin_policy::floor_ns},
           {50'000, 99'000, 100'000},
           {100'000, 199'000, 200'000},
           {149'000, 297'000, 298'000},
           {160'000, 0, 0},  // later than half the limit: twice that would not meet it
           {1'000'000, 0, 0},
           {3'600'000'000'000, 0, 0}}) {
    const auto budget = after(waited, 200).budget_ns();
    EXPECT_GE(budget, least) << waited;
    EXPECT_LE(budget, most) << waited;
  }
}

TEST(spin_policy, begins_hopeful) {
  EXPECT_EQ(spin_policy(limit).budget_ns(), spin_policy::floor_ns);
  EXPECT_EQ(spin_policy(limit).expected_ns(), 0);
}

TEST(spin_policy, never_spins_longer_than_its_limit) {
  for (const std::int64_t bound : {0ll, 1ll, 10'000ll, 49'999ll, 50'000ll, 1'000'000ll}) {
    for (const std::int64_t waited : {0ll, 100ll, 5'000ll, 20'000ll, 400'000ll, 10'000'000ll}) {
      spin_policy policy(bound);
      for (int i = 0; i < 50; ++i) {
        policy.came_after(waited);
        EXPECT_LE(policy.budget_ns(), bound);
        EXPECT_GE(policy.budget_ns(), 0);
      }
    }
  }
}

TEST(spin_policy, without_a_limit_to_spin_within_never_spins) {
  EXPECT_EQ(spin_policy(0).budget_ns(), 0);
  EXPECT_EQ(spin_policy(-5).budget_ns(), 0);
  EXPECT_FALSE(spin_policy(0).try_to_part());
}

TEST(spin_policy, gives_up_after_a_few_long_waits) {
  for (int times = 1; times <= 12; ++times) {
    const auto budget = after(10 * limit, times).budget_ns();
    if (times >= 8) {
      EXPECT_EQ(budget, 0) << times;
    } else if (times == 1) {
      EXPECT_GT(budget, 0);  // one pause proves nothing
    }
  }
}

TEST(spin_policy, forgets_an_hour_of_idleness_after_a_few_quick_answers) {
  spin_policy policy = after(3'600'000'000'000, 1'000);
  EXPECT_EQ(policy.budget_ns(), 0);
  int quick = 0;
  for (; policy.budget_ns() == 0 && quick < 100; ++quick) policy.came_after(1'000);
  EXPECT_LE(quick, 12);
  EXPECT_GT(quick, 1);
}

TEST(spin_policy, takes_the_loss_of_its_cpu_as_a_long_wait) {
  spin_policy policy(limit);
  for (int i = 0; i < 8; ++i) policy.preempted();
  EXPECT_EQ(policy.budget_ns(), 0);
}

TEST(spin_policy, tries_to_part_from_a_peer_on_its_cpu_ever_more_rarely) {
  spin_policy policy(limit);
  std::vector<std::uint32_t> gaps;
  std::uint32_t since = 0;
  for (int wait = 0; wait < 40'000; ++wait) {
    ++since;
    if (policy.try_to_part()) {
      gaps.push_back(since);
      since = 0;
    }
  }
  ASSERT_GE(gaps.size(), 12u);
  EXPECT_EQ(gaps[0], spin_policy::first_try);
  for (std::size_t i = 1; i < gaps.size(); ++i) {
    EXPECT_EQ(gaps[i], std::min(2 * gaps[i - 1], spin_policy::most_between_tries)) << i;
  }
}

TEST(spin_policy, tries_soon_again_once_they_have_been_apart) {
  spin_policy policy(limit);
  for (int wait = 0; wait < 10'000; ++wait) (void)policy.try_to_part();
  policy.apart();
  for (std::uint32_t wait = 1; wait < spin_policy::first_try; ++wait) {
    EXPECT_FALSE(policy.try_to_part());
  }
  EXPECT_TRUE(policy.try_to_part());
}

TEST(spin_policy, does_not_try_to_part_where_spinning_would_not_pay) {
  spin_policy policy = after(10 * limit, 50);
  for (int wait = 0; wait < 100; ++wait) EXPECT_FALSE(policy.try_to_part());
}

}  // namespace
}  // namespace ferry
