#include "engine/loop/timer_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "perf/heap_count.h"

namespace ferry {
namespace {

using time_point = timer_queue::time_point;

time_point at(std::int64_t ticks) { return time_point(std::chrono::nanoseconds(ticks)); }

struct timer final : timer_entry {
  timer() = default;
  explicit timer(std::function<void(time_point)> call) : action(std::move(call)) {}
  std::function<void(time_point)> action;

 private:
  void on_due(time_point now) override {
    if (action) action(now);
  }
};

TEST(timer_queue, without_entries_is_never_due) {
  timer_queue queue;
  EXPECT_EQ(queue.next(), time_point::max());
  EXPECT_EQ(queue.run_due(time_point::max()), 0u);
}

TEST(timer_queue, runs_an_entry_once_at_its_time_and_not_before) {
  timer_queue queue;
  std::vector<time_point> runs;
  timer one([&](time_point now) { runs.push_back(now); });
  queue.arm(one, at(10));
  EXPECT_EQ(queue.next(), at(10));
  EXPECT_EQ(queue.run_due(at(9)), 0u);
  EXPECT_TRUE(one.armed());
  EXPECT_EQ(queue.run_due(at(10)), 1u);
  EXPECT_FALSE(one.armed());
  EXPECT_EQ(queue.run_due(at(11)), 0u);
  EXPECT_EQ(runs, std::vector{at(10)});
}

TEST(timer_queue, runs_the_earliest_first_and_no_more_than_its_limit) {
  timer_queue queue;
  std::vector<int> order;
  timer late([&](time_point) { order.push_back(3); });
  timer early([&](time_point) { order.push_back(1); });
  timer middle([&](time_point) { order.push_back(2); });
  queue.arm(late, at(3));
  queue.arm(early, at(1));
  queue.arm(middle, at(2));
  EXPECT_EQ(queue.run_due(at(9), 2), 2u);
  EXPECT_EQ(order, (std::vector{1, 2}));
  EXPECT_EQ(queue.next(), at(3));
  EXPECT_EQ(queue.run_due(at(9), 2), 1u);
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST(timer_queue, that_moved_an_entry_to_later_says_a_lower_bound_and_runs_it_in_its_new_place) {
  timer_queue queue;
  std::vector<int> order;
  timer moved([&](time_point) { order.push_back(1); });
  timer other([&](time_point) { order.push_back(2); });
  queue.arm(moved, at(1));
  queue.arm(other, at(5));
  queue.arm(moved, at(7));
  EXPECT_EQ(moved.due(), at(7));
  EXPECT_LE(queue.next(), at(5));
  EXPECT_EQ(queue.run_due(at(1)), 0u);
  EXPECT_EQ(queue.next(), at(5));
  EXPECT_EQ(queue.run_due(at(7)), 2u);
  EXPECT_EQ(order, (std::vector{2, 1}));
}

TEST(timer_queue, that_moved_an_entry_to_later_and_back_runs_it_early) {
  timer_queue queue;
  int runs = 0;
  timer moved([&](time_point) { ++runs; });
  queue.arm(moved, at(5));
  queue.arm(moved, at(9));
  queue.arm(moved, at(6));
  queue.arm(moved, at(3));
  EXPECT_EQ(queue.next(), at(3));
  EXPECT_EQ(queue.run_due(at(3)), 1u);
  EXPECT_EQ(runs, 1);
}

TEST(timer_queue, forgets_entries_that_are_cancelled_or_destroyed) {
  timer_queue queue;
  timer kept;
  queue.arm(kept, at(2));
  {
    timer gone;
    queue.arm(gone, at(1));
    EXPECT_EQ(queue.next(), at(1));
  }
  EXPECT_EQ(queue.next(), at(2));
  queue.cancel(kept);
  queue.cancel(kept);
  EXPECT_TRUE(queue.empty());
}

TEST(timer_queue, destroyed_disarms_its_entries) {
  timer one;
  {
    timer_queue queue;
    queue.arm(one, at(1));
  }
  EXPECT_FALSE(one.armed());
}

TEST(timer_queue, lets_an_entry_cancel_and_destroy_others_and_itself) {
  timer_queue queue;
  auto self = std::make_unique<timer>();
  auto other = std::make_unique<timer>([](time_point) { FAIL() << "destroyed"; });
  timer cancelled([](time_point) { FAIL() << "cancelled"; });
  self->action = [&](time_point) {
    queue.cancel(cancelled);
    other.reset();
    self.reset();
  };
  queue.arm(*self, at(1));
  queue.arm(*other, at(2));
  queue.arm(cancelled, at(3));
  EXPECT_EQ(queue.run_due(at(5)), 1u);
  EXPECT_EQ(self, nullptr);
  EXPECT_TRUE(queue.empty());
}

TEST(timer_queue, is_not_held_by_an_entry_that_is_always_due_again) {
  timer_queue queue;
  int runs = 0;
  timer again;
  again.action = [&](time_point now) {
    ++runs;
    queue.arm(again, now);
  };
  queue.arm(again, at(1));
  EXPECT_EQ(queue.run_due(at(1)), 1u);
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(again.armed());
}

TEST(timer_queue, asks_the_heap_for_nothing_when_entries_come_and_go) {
  timer_queue queue;
  std::vector<timer> entries(100);
  const auto turn = [&] {
    for (timer& each : entries) queue.arm(each, at(1));
    for (timer& each : entries) queue.arm(each, at(2));
    return queue.run_due(at(2));
  };
  EXPECT_EQ(turn(), 100u);
  const auto before = heap_allocations();
  EXPECT_EQ(turn(), 100u);
  EXPECT_EQ(heap_allocations(), before);
}

// Beside a std::multimap that does the same the obvious way.
TEST(timer_queue, does_what_a_sorted_map_does_under_random_use) {
  const auto seed = std::random_device{}();
  std::cout << "seed " << seed << '\n';
  std::mt19937 random(seed);
  const auto below = [&](int limit) {
    return std::uniform_int_distribution<>(0, limit - 1)(random);
  };

  struct probe final : timer_entry {
    std::vector<probe*>* ran = nullptr;

   private:
    void on_due(time_point) override { ran->push_back(this); }
  };
  std::vector<probe*> ran;
  std::multimap<time_point, probe*> model;
  const auto forget = [&](const probe* entry) {
    std::erase_if(model, [&](const auto& each) { return each.second == entry; });
  };

  timer_queue queue;
  std::vector<std::unique_ptr<probe>> entries(40);
  std::int64_t now = 0;
  for (int step = 0; step < 50'000; ++step) {
    auto& entry = entries[static_cast<std::size_t>(below(40))];
    const int action = below(10);
    if (!entry) {
      entry = std::make_unique<probe>();
      entry->ran = &ran;
    }
    if (action < 6) {
      const auto due = at(now - 5 + below(100));
      forget(entry.get());
      model.emplace(due, entry.get());
      queue.arm(*entry, due);
    } else if (action == 6) {
      forget(entry.get());
      queue.cancel(*entry);
    } else if (action == 7) {
      forget(entry.get());
      entry.reset();
    } else {
      now += below(20);
      const auto limit = static_cast<std::size_t>(below(6));
      ran.clear();
      const auto count = queue.run_due(at(now), limit);
      ASSERT_EQ(count, ran.size());
      std::size_t expected = 0;
      // Of those due at one time any may run, so the times are compared and who ran is taken out.
      for (auto next = model.begin(); next != model.end() && expected < limit; ++expected, ++next) {
        if (next->first > at(now)) break;
        ASSERT_LT(expected, ran.size());
        ASSERT_EQ(ran[expected]->due(), next->first);
      }
      ASSERT_EQ(ran.size(), expected);
      for (const probe* each : ran) {
        const auto before = model.size();
        forget(each);
        ASSERT_EQ(model.size(), before - 1);
      }
    }
    ASSERT_EQ(queue.size(), model.size());
    if (model.empty()) {
      ASSERT_EQ(queue.next(), time_point::max());
    } else {
      ASSERT_LE(queue.next(), model.begin()->first);
    }
  }
}

}  // namespace
}  // namespace ferry
