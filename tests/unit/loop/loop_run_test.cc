// loop::run of several threads on one loop: each returns when its own end has come, whoever drives.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/loop/loop.h"
#include "engine/loop/loop_core.h"
#include "tests/support/sanitized.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr auto generous = 60s;  // only ever reached by a failing test

loop made_loop() {
  auto made = loop::create();
  if (!made) throw std::runtime_error(made.error().message());
  return *made;
}

task<int> rest_and_give(loop on, std::chrono::nanoseconds time, int value) {
  co_await on.sleep_for(time);
  co_return value;
}

// Drives as a worker's run() does: leaves the wheel only to threads that want it.
class keeper {
 public:
  explicit keeper(const loop& on)
      : core_(on.core()), thread_([this](const std::stop_token& stop) { keep(stop); }) {}
  ~keeper() {
    thread_.request_stop();
    core_->nudge();
  }

 private:
  void keep(const std::stop_token& stop) {
    core_->take();
    while (!stop.stop_requested()) {
      const bool served = core_->turn() != 0;
      core_->give_way();
      if (served || core_->wanted()) continue;
      if (core_->wait(clock::now() + 100ms) == woke::timeout) core_->serve_due(clock::now());
    }
    core_->leave();
  }
  std::shared_ptr<loop_core> core_;
  std::jthread thread_;
};

TEST(loop_run, returns_though_another_thread_keeps_the_wheel) {
  auto on = made_loop();
  std::packaged_task<int()> runs([&] {
    int sum = 0;
    for (int i = 0; i < 5; ++i) sum += on.run(rest_and_give(on, 20ms, 1));
    return sum;
  });
  auto sum = runs.get_future();
  std::optional<keeper> driving(on);
  const std::jthread other(std::move(runs));
  EXPECT_EQ(sum.wait_for(generous), std::future_status::ready);
  driving.reset();  // a sleeper that was forgotten drives from here on
  EXPECT_EQ(sum.get(), 5);
}

TEST(loop_run, returns_in_each_of_many_threads_beside_a_loop_thread) {
  auto driven = loop_thread::start();
  ASSERT_TRUE(driven);
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < (sanitized ? 100 : 400); ++i) {
        const auto time = std::chrono::microseconds((i * 7 + thread * 131) % 900);
        if (driven->loop().run(rest_and_give(driven->loop(), time, i)) != i) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(loop_run, leaves_nothing_of_its_task_behind_whoever_ends_it) {
  auto on = made_loop();
  keeper driving(on);
  for (int i = 0; i < 50; ++i) {
    const auto witness = std::make_shared<int>(i);
    const auto holding = [](loop there, std::shared_ptr<int> held) -> task<int> {
      co_await there.sleep_for(100us);
      co_return *held;
    };
    EXPECT_EQ(on.run(holding(on, witness)), i);
    EXPECT_EQ(witness.use_count(), 1);
  }
}

TEST(loop_run, ends_by_its_own_token_in_each_of_four_threads) {
  for (int round = 0; round < (sanitized ? 20 : 100); ++round) {
    auto on = made_loop();
    std::atomic<int> running{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&on, &running](std::stop_token stop) {
        ++running;
        EXPECT_TRUE(on.run(std::move(stop)));
      });
    }
    while (running != 4) std::this_thread::yield();
    if (round % 4 == 0) std::this_thread::sleep_for(5ms);  // three are asleep by now
    for (auto& each : threads) each = {};                  // one after another: asks and joins
  }
}

TEST(loop_run, ends_at_once_by_a_token_that_was_asked_before) {
  auto on = made_loop();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(on.run(stop.get_token()));
}

TEST(loop_run, inside_a_callback_says_so_and_starts_nothing) {
  auto on = made_loop();
  bool began = false, thrown = false;
  const auto work = [&]() -> task<result<int>> {
    began = true;
    co_return 1;
  };
  const auto plain = [&]() -> task<> {
    began = true;
    co_return;
  };
  errc code{}, stopped{};
  on.post([&] {
    code = on.run(work()).error().code;
    stopped = on.run(std::stop_token()).error().code;
    try {
      on.run(plain());
    } catch (const std::system_error&) {
      thrown = true;
    }
  });
  ASSERT_TRUE(on.run_once());
  EXPECT_EQ(code, errc::invalid_request);
  EXPECT_EQ(stopped, errc::invalid_request);
  EXPECT_TRUE(thrown);
  EXPECT_FALSE(began);
}

// The process ends where it is thrown, and says what it was.
TEST(loop_run_death, of_a_process_whose_job_throws) {
  EXPECT_DEATH(
      {
        auto on = made_loop();
        on.post([] { throw std::runtime_error("thrown by a job"); });
        (void)on.run_once();
      },
      "thrown by a job");
}

TEST(loop_sleep, of_the_longest_time_does_not_end_at_once) {
  auto on = made_loop();
  for (const auto time : {std::chrono::nanoseconds::max(), std::chrono::nanoseconds::max() - 1ns}) {
    bool ended = false;
    const auto sleeps = [&]() -> task<> {
      co_await on.sleep_for(time);
      ended = true;
    };
    const auto sleeping = start(sleeps());
    EXPECT_EQ(on.run(rest_and_give(on, 20ms, 1)), 1);
    EXPECT_FALSE(ended);
  }
}

}  // namespace
}  // namespace ferry
