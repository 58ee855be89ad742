#include "engine/driver.h"

#include <gtest/gtest.h>

#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = driver::clock;

constexpr auto generous = 60s;  // only ever reached by a failing test

clock::time_point in(std::chrono::nanoseconds time) { return clock::now() + time; }

TEST(driver, gives_the_wheel_to_one_thread_at_a_time) {
  driver wheel;
  EXPECT_TRUE(wheel.try_take());
  EXPECT_FALSE(wheel.try_take());
  std::thread([&] { EXPECT_FALSE(wheel.try_take()); }).join();
  wheel.leave();
  std::thread([&] {
    EXPECT_TRUE(wheel.try_take());
    wheel.leave();
  }).join();
  EXPECT_TRUE(wheel.try_take());
  wheel.leave();
}

TEST(driver, knows_the_thread_that_drives) {
  driver wheel;
  EXPECT_FALSE(wheel.mine());
  ASSERT_TRUE(wheel.try_take());
  EXPECT_TRUE(wheel.mine());
  std::thread([&] { EXPECT_FALSE(wheel.mine()); }).join();
  wheel.leave();
  EXPECT_FALSE(wheel.mine());
}

TEST(driver, lets_nobody_follow_a_free_wheel) {
  driver wheel;
  follower me;
  wheel.follow(me, std::nullopt);  // returns at once: there is nobody to follow
  EXPECT_FALSE(me.arrived());
  EXPECT_TRUE(wheel.try_take());
  wheel.leave();
}

// Of two that sleep, one is told to drive when what it waits for comes from elsewhere.
TEST(driver, is_passed_on_by_who_arrives_as_it_is_promoted) {
  for (int round = 0; round < 300; ++round) {
    driver wheel;
    ASSERT_TRUE(wheel.try_take());
    follower first, second;
    const auto until = in(generous);
    const auto wait = [&](follower& me) {
      if (wheel.follow(me, until)) wheel.pass_on();  // it was told; it will not drive
    };
    std::thread one([&] { wait(first); }), two([&] { wait(second); });
    std::this_thread::sleep_for(std::chrono::microseconds(round));
    wheel.leave();
    first.arrive();
    one.join();
    two.join();
    ASSERT_LT(clock::now(), until) << "nobody was told that the wheel is free";
  }
}

TEST(driver, is_told_to_a_sleeper_by_the_last_of_a_crowd) {
  driver wheel;
  for (int round = 0; round < 500; ++round) {
    wheel.join_crowd();
    ASSERT_TRUE(wheel.try_take());
    std::thread sleeper([&] {
      follower me;
      const auto until = in(generous);
      while (!wheel.try_take() && clock::now() < until) wheel.follow(me, until);
      EXPECT_TRUE(wheel.mine());
      wheel.leave();
    });
    std::thread other([&] {
      wheel.join_crowd();
      wheel.leave_crowd();
    });
    wheel.leave();  // wakes nobody: we are still about
    wheel.leave_crowd();
    other.join();
    sleeper.join();
    EXPECT_FALSE(wheel.crowded());
  }
}

TEST(driver, lets_a_follower_go_whose_answer_has_come_already) {
  driver wheel;
  ASSERT_TRUE(wheel.try_take());
  follower me;
  me.arrive();
  wheel.follow(me, std::nullopt);
  EXPECT_TRUE(me.arrived());
  wheel.leave();
}

TEST(driver, lets_a_follower_go_at_its_deadline) {
  driver wheel;
  ASSERT_TRUE(wheel.try_take());
  std::thread([&] {
    follower me;
    const auto deadline = in(30ms);
    wheel.follow(me, deadline);
    EXPECT_GE(clock::now(), deadline);
    EXPECT_FALSE(me.arrived());
    wheel.follow(me, clock::now() - 1s);  // long past
    EXPECT_FALSE(me.arrived());
  }).join();
  wheel.leave();
}

// A thread that follows, without a deadline unless told.
class following {
 public:
  explicit following(driver& wheel, std::optional<clock::time_point> deadline = std::nullopt)
      : thread_([this, &wheel, deadline] {
          wheel.follow(me, deadline);
          returned = true;
        }) {}
  ~following() { thread_.join(); }

  follower me;
  std::atomic<bool> returned{false};

  bool returns() const {
    const auto limit = in(generous);
    while (!returned && clock::now() < limit) std::this_thread::yield();
    return returned;
  }

 private:
  std::thread thread_;
};

TEST(driver, wakes_a_sleeper_whose_answer_arrives) {
  driver wheel;
  ASSERT_TRUE(wheel.try_take());
  {
    following first(wheel), second(wheel);
    second.me.arrive();
    EXPECT_TRUE(second.returns());
    EXPECT_TRUE(second.me.arrived());
    first.me.arrive();
    EXPECT_TRUE(first.returns());
  }
  wheel.leave();
}

TEST(driver, wakes_somebody_when_the_wheel_becomes_free) {
  for (int round = 0; round < 200; ++round) {  // asleep already, falling asleep, not there yet
    driver wheel;
    ASSERT_TRUE(wheel.try_take());
    following one(wheel);
    if (round % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(round));
    wheel.leave();
    ASSERT_TRUE(one.returns());
    EXPECT_FALSE(one.me.arrived());
  }
}

TEST(driver, passes_the_wheel_from_sleeper_to_sleeper_until_all_have_had_it) {
  driver wheel;
  ASSERT_TRUE(wheel.try_take());
  std::atomic<int> drove{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      follower me;
      while (!wheel.try_take()) wheel.follow(me, std::nullopt);
      ++drove;
      wheel.leave();
    });
  }
  wheel.leave();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(drove, 8);
}

TEST(driver, has_another_driver_when_the_one_who_was_woken_does_not_want_the_wheel) {
  for (int round = 0; round < 200; ++round) {
    driver wheel;
    ASSERT_TRUE(wheel.try_take());
    std::atomic<int> asleep{0};
    std::atomic<int> drove{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {  // waits only for the wheel
        follower me;
        ++asleep;
        while (!wheel.try_take()) wheel.follow(me, std::nullopt);
        ++drove;
        wheel.leave();
      });
    }
    while (asleep != 2) std::this_thread::yield();
    threads.emplace_back([&] {  // follows last, so it is the first to be woken; its time is up
      follower me;
      wheel.follow(me, in(std::chrono::microseconds(50 + round)));
      wheel.pass_on();
    });
    std::this_thread::sleep_for(std::chrono::microseconds(50 + round));  // about at its deadline
    wheel.leave();
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(drove, 2);
  }
}

TEST(driver, wakes_nobody_for_a_wheel_that_is_taken) {
  driver wheel;
  ASSERT_TRUE(wheel.try_take());
  following one(wheel, in(50ms));
  wheel.pass_on();
  EXPECT_TRUE(one.returns());
  EXPECT_FALSE(wheel.try_take());
  wheel.leave();
}

// Eight threads wait for items that one helper makes. Whoever drives hands each item to the thread
// that waits for it: what a client does with its calls, with nothing else around it.
TEST(driver, loses_no_wakeup_among_eight_threads) {
  constexpr int threads = 8, rounds = 2'000;
  driver wheel;
  std::mutex mutex;
  std::deque<int> asked, made;  // by thread number
  std::vector<std::atomic<follower*>> waiting(threads);
  std::atomic<bool> stop{false};

  std::thread maker([&] {
    while (!stop) {
      std::deque<int> batch;
      {
        const std::lock_guard guard(mutex);
        batch.swap(asked);
        made.insert(made.end(), batch.begin(), batch.end());
      }
      if (batch.empty()) std::this_thread::yield();
    }
  });
  const auto drive = [&](follower& me, clock::time_point until) {
    while (!me.arrived() && clock::now() < until) {
      int thread = -1;
      {
        const std::lock_guard guard(mutex);
        if (!made.empty()) {
          thread = made.front();
          made.pop_front();
        }
      }
      if (thread < 0) {
        std::this_thread::yield();
      } else {
        waiting[static_cast<std::size_t>(thread)].load()->arrive();
      }
    }
  };
  std::vector<std::thread> callers;
  std::atomic<int> late{0};
  for (int thread = 0; thread < threads; ++thread) {
    callers.emplace_back([&, thread] {
      for (int i = 0; i < rounds; ++i) {
        follower me;
        waiting[static_cast<std::size_t>(thread)] = &me;
        {
          const std::lock_guard guard(mutex);
          asked.push_back(thread);
        }
        const auto deadline = in(generous);
        while (!me.arrived()) {
          if (wheel.try_take()) {
            drive(me, deadline);
            wheel.leave();
          } else {
            wheel.follow(me, deadline);
          }
          if (clock::now() >= deadline) {
            ++late;
            break;
          }
        }
        if (late != 0) break;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  stop = true;
  maker.join();
  EXPECT_EQ(late, 0);
}

}  // namespace
}  // namespace ferry
