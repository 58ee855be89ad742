#include "worker/lanes.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace ferry {
namespace {

using namespace std::chrono_literals;

// Yields until the condition holds; a broken one ends with the test's own time limit.
void wait_until(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

// A job that says when it runs and ends when it is told to.
class gate {
 public:
  lane_job job() {
    return [this] {
      began_.count_down();
      open_.wait();
    };
  }
  void wait_begun() { began_.wait(); }
  void open() { open_.count_down(); }

 private:
  std::latch began_{1};
  std::latch open_{1};
};

TEST(lanes, start_no_thread_before_there_is_work) {
  lanes all;
  (void)all.add_lane({.concurrency = 4});
  EXPECT_EQ(all.stats().threads, 0u);
}

TEST(lanes, run_the_jobs_of_a_lane_in_the_order_in_which_they_came) {
  std::vector<int> order;
  std::promise<void> last;
  lanes all;
  const auto lane = all.add_lane({});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(all.submit(lane, [&order, i] { order.push_back(i); }));
  }
  ASSERT_TRUE(all.submit(lane, [&last] { last.set_value(); }));
  last.get_future().wait();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(all.stats().threads, 1u);
}

TEST(lanes, refuse_at_once_what_neither_runs_nor_may_wait_and_leave_it_with_the_caller) {
  gate busy;
  std::atomic<int> runs = 0;
  lanes all;
  const auto lane = all.add_lane({.concurrency = 1, .queue_limit = 1});
  ASSERT_TRUE(all.submit(lane, busy.job()));
  busy.wait_begun();
  ASSERT_TRUE(all.submit(lane, [&runs] { ++runs; }));
  lane_job refused = [&runs] { runs += 10; };
  EXPECT_EQ(all.submit(lane, std::move(refused)).error().code, errc::full);
  EXPECT_TRUE(refused);
  EXPECT_EQ(all.stats(lane).running, 1u);
  EXPECT_EQ(all.stats(lane).queued, 1u);
  busy.open();
  wait_until([&] { return runs == 1; });
}

TEST(lanes, with_no_room_to_wait_still_run_as_many_jobs_as_they_may) {
  gate one, two;
  lanes all;
  const auto lane = all.add_lane({.concurrency = 2, .queue_limit = 0});
  ASSERT_TRUE(all.submit(lane, one.job()));
  ASSERT_TRUE(all.submit(lane, two.job()));
  EXPECT_FALSE(all.submit(lane, [] {}));
  one.wait_begun();
  two.wait_begun();
  one.open();
  two.open();
}

TEST(lanes, that_are_busy_do_not_delay_another) {
  gate busy, other;
  lanes all;
  const auto slow = all.add_lane({});
  const auto quick = all.add_lane({});
  ASSERT_TRUE(all.submit(slow, busy.job()));
  busy.wait_begun();
  ASSERT_TRUE(all.submit(slow, [] {}));
  ASSERT_TRUE(all.submit(quick, other.job()));
  other.wait_begun();  // while the first lane is still at its first job
  EXPECT_EQ(all.stats(slow).queued, 1u);
  EXPECT_EQ(all.stats().threads, 2u);
  other.open();
  busy.open();
}

TEST(lanes, share_their_idle_threads) {
  lanes all;
  for (int i = 0; i < 5; ++i) {
    const auto lane = all.add_lane({});
    std::promise<void> ran;
    ASSERT_TRUE(all.submit(lane, [&ran] { ran.set_value(); }));
    ran.get_future().wait();
    wait_until([&] { return all.stats().running == 0; });
  }
  EXPECT_EQ(all.stats().threads, 1u);
}

TEST(lanes, end_threads_that_stay_idle_and_start_others_later) {
  lanes all({.idle_time = 0ns});
  const auto lane = all.add_lane({.concurrency = 2});
  for (int i = 0; i < 20; ++i) {
    std::atomic<bool> ran = false;
    ASSERT_TRUE(all.submit(lane, [&ran] { ran = true; }));
    wait_until([&] { return ran && all.stats().threads == 0; });
  }
}

TEST(lanes, withdraw_a_job_that_has_not_begun_and_only_that) {
  gate busy;
  auto held = std::make_shared<int>(0);
  std::promise<void> last;
  lanes all;
  const auto lane = all.add_lane({});
  const auto running = all.submit(lane, busy.job());
  busy.wait_begun();
  const auto waiting = all.submit(lane, [held] { ++*held; });
  ASSERT_TRUE(all.submit(lane, [&last] { last.set_value(); }));
  ASSERT_TRUE(running && waiting);
  EXPECT_EQ(held.use_count(), 2);
  EXPECT_TRUE(all.withdraw(*waiting));
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(all.withdraw(*waiting));
  EXPECT_FALSE(all.withdraw(*running));
  EXPECT_FALSE(all.withdraw({}));
  busy.open();
  last.get_future().wait();
  EXPECT_EQ(*held, 0);
}

TEST(lanes, do_not_take_an_old_ticket_for_a_new_job) {
  gate busy;
  std::promise<void> ran;
  lanes all;
  const auto lane = all.add_lane({});
  ASSERT_TRUE(all.submit(lane, busy.job()));
  busy.wait_begun();
  const auto old = all.submit(lane, [] {});
  ASSERT_TRUE(all.withdraw(*old));
  ASSERT_TRUE(all.submit(lane, [&ran] { ran.set_value(); }));  // where the old one was
  EXPECT_FALSE(all.withdraw(*old));
  busy.open();
  ran.get_future().wait();
}

TEST(lanes, stop_drops_what_waits_and_awaits_what_runs) {
  gate busy;
  std::atomic<bool> ended = false;
  std::promise<void> dropped;
  lanes all;
  const auto lane = all.add_lane({});
  ASSERT_TRUE(all.submit(lane, [run = busy.job(), &ended]() mutable {
    run();
    ended = true;
  }));
  busy.wait_begun();
  const auto tell = [&dropped](int* held) {
    delete held;
    dropped.set_value();
  };
  const auto waiting = all.submit(lane, [held = std::unique_ptr<int, decltype(tell)>(
                                             new int(0), tell)] { ADD_FAILURE() << "dropped"; });
  ASSERT_TRUE(waiting);
  std::thread other([&] {
    dropped.get_future().wait();  // stop() is under way, and waits for us
    EXPECT_FALSE(all.withdraw(*waiting));
    EXPECT_EQ(all.submit(lane, [] {}).error().code, errc::closed);
    busy.open();
  });
  all.stop();
  EXPECT_TRUE(ended);
  EXPECT_EQ(all.stats().dropped, 1u);
  EXPECT_EQ(all.stats().threads, 0u);
  all.stop();
  other.join();
}

TEST(lanes, run_jobs_with_every_signal_blocked_and_leave_the_callers_mask_alone) {
  sigset_t before, after, inside;
  sigemptyset(&inside);
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  std::string name(16, '\0');
  std::promise<void> ran;
  lanes all;
  ASSERT_TRUE(all.submit(all.add_lane({}), [&] {
    pthread_sigmask(SIG_SETMASK, nullptr, &inside);
    pthread_getname_np(pthread_self(), name.data(), name.size());
    ran.set_value();
  }));
  ran.get_future().wait();
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(sigismember(&inside, signal), 1);
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal));
  }
  EXPECT_STREQ(name.c_str(), "ferry-lane");
}

TEST(lanes, lose_no_job_and_keep_every_bound_when_many_threads_submit_and_withdraw) {
  constexpr std::size_t lane_count = 3;
  constexpr int submitters = 4, rounds = 2000;
  std::atomic<int> accepted = 0, refused = 0, withdrawn = 0, ran = 0;
  std::atomic<int> running[lane_count] = {};
  std::atomic<bool> too_many = false;
  std::vector<lane_id> ids;
  lanes all({.idle_time = 100us});
  for (std::uint32_t i = 0; i < lane_count; ++i) {
    ids.push_back(all.add_lane({.concurrency = i + 1, .queue_limit = 8}));
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < submitters; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < rounds; ++i) {
        const auto which = static_cast<std::size_t>(i + t) % lane_count;
        const auto submitted = all.submit(ids[which], [&, which] {
          if (++running[which] > static_cast<int>(which) + 1) too_many = true;
          ++ran;
          --running[which];
        });
        if (!submitted) {
          ++refused;
          continue;
        }
        ++accepted;
        if (i % 4 == 0 && all.withdraw(*submitted)) ++withdrawn;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  wait_until([&] { return ran + withdrawn == accepted; });
  EXPECT_EQ(accepted + refused, submitters * rounds);
  EXPECT_FALSE(too_many);
  all.stop();
  EXPECT_EQ(all.stats().dropped, 0u);
  EXPECT_EQ(ran + withdrawn, accepted);
}

}  // namespace
}  // namespace ferry
