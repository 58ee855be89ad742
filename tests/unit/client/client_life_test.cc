// What a client's callbacks may do to it, to each other and to the process.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "tests/support/attached.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

constexpr std::span<const std::byte> no_bytes;
constexpr auto generous = 60s;  // only ever reached by a failing test

inline const method<int(int, int)> add{"add"};

// A worker that serves in a thread of its own, and a loop that its hosts share.
class client_life : public testing::Test {
 protected:
  client_life() : on_(*loop::create()) {
    w_.function(add, [](int a, int b) { return a + b; });
    w_.raw("silent", [this](context& call, body) { held_.push_back(call.defer()); });
  }
  client attach(bool own_loop = false) {
    client_options options;
    if (!own_loop) options.loop = on_;
    served_.reset();  // while it takes another session
    client made = attach_to(w_, options);
    served_.emplace(w_);
    return made;
  }
  template <class Done>
  bool drive(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + generous;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline || !on_.run_once(1s)) return false;
    }
    return true;
  }

  loop on_;
  std::vector<responder> held_;  // of calls that are never answered
  worker w_;
  std::optional<serving_thread> served_;
};

TEST_F(client_life, may_be_a_coroutine_s_that_ends_with_its_answer) {
  const auto job = [&](client owned) -> task<int> {
    const auto host = std::make_unique<client>(std::move(owned));
    const auto sum = co_await host->call_task(add, 1, 2);
    co_return sum.value_or(0);
  };
  for (int i = 0; i < 5; ++i) EXPECT_EQ(on_.run(job(attach())), 3);
}

TEST_F(client_life, may_end_in_a_callback_of_its_own_and_ends_its_calls_once) {
  for (const bool own_loop : {false, true}) {
    std::optional<client> host(attach(own_loop));
    const auto silent = host->function("silent");
    ASSERT_TRUE(silent);
    int closed = 0, resumed = 0, ended = 0;
    const auto waiting = [&]() -> task<> {
      const auto outcome = co_await host->call_task(*silent, no_bytes);
      resumed += outcome.error().code == errc::closed;
    };
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(host->call_async(*silent, no_bytes, [&](call_result&& outcome) {
        closed += outcome.error().code == errc::closed;
        ++ended;
      }));
      ferry::spawn(waiting());
    }
    ASSERT_TRUE(host->call_async(
        add,
        [&](auto&& sum) {
          EXPECT_EQ(sum.value_or(0), 3);
          host.reset();
          EXPECT_EQ(closed, 10);
        },
        1, 2));
    const auto deadline = std::chrono::steady_clock::now() + generous;
    while (host && std::chrono::steady_clock::now() < deadline) {
      own_loop ? (void)host->run_once(1s) : (void)on_.run_once(1s);
    }
    EXPECT_FALSE(host);
    EXPECT_EQ(ended, 10);
    EXPECT_EQ(resumed, 10);
    (void)on_.run_once();
  }
}

TEST_F(client_life, may_end_when_a_deadline_of_its_own_passes) {
  std::optional<client> host(attach());
  const auto silent = host->function("silent");
  ASSERT_TRUE(silent);
  call_options brief;
  brief.timeout = 5ms;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(host->call_async(
        *silent, no_bytes, [&](call_result&&) { host.reset(); }, brief));
  }
  EXPECT_TRUE(drive([&] { return !host; }));
}

TEST_F(client_life, may_end_in_a_callback_of_another_or_in_a_job) {
  std::optional<client> one(attach()), other(attach());
  ASSERT_TRUE(one->call_async(
      add, [&](auto&&) { other.reset(); }, 1, 2));
  EXPECT_TRUE(drive([&] { return !other; }));
  on_.post([&] { one.reset(); });
  EXPECT_TRUE(drive([&] { return !one; }));
}

// It ends where it is thrown, whoever drives: here another call, which knows nothing of it.
TEST(client_life_death, of_a_process_whose_callback_throws) {
  EXPECT_DEATH(
      {
        worker w;
        w.function(add, [](int a, int b) { return a + b; });
        client host = attach_to(w);
        const serving_thread served(w);
        (void)host.call_async(
            add, [](auto&&) { throw std::runtime_error("thrown by a callback"); }, 1, 2);
        (void)host.call(add, 1, 2);
      },
      "thrown by a callback");
}

}  // namespace
}  // namespace ferry
