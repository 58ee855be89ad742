// Giving up calls, in each of their forms; functions on threads of their own and coroutines.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "tests/e2e/streams.h"

namespace ferry {
namespace {

using namespace streams;

class calls_cancel : public streams_test {};

TEST_F(calls_cancel, ends_a_blocking_call_at_once_and_stops_every_kind_of_function) {
  launched host = start_streams();
  int expected = 0;
  for (const auto* function : {&until_stopped, &lane_until_stopped, &co_until_stopped}) {
    std::stop_source stop;
    std::jthread later([&] {
      std::this_thread::sleep_for(20ms);
      stop.request_stop();
    });
    const auto outcome = host.call(*function, {.stop = stop});
    EXPECT_EQ(code_of(outcome), errc::cancelled);
    EXPECT_TRUE(outcome.error().maybe_executed);
    ++expected;
    EXPECT_TRUE(eventually([&] { return stops_of(host) == expected; }));
  }
  expect_nothing_left(host);
}

TEST_F(calls_cancel, ends_a_call_with_a_callback_once) {
  launched host = start_streams();
  std::stop_source stop;
  int outcomes = 0;
  std::optional<errc> code;
  ASSERT_TRUE(host.call_async(lane_until_stopped, {.stop = stop},
                              [&](const result<int, call_error>& outcome) {
                                ++outcomes;
                                code = code_of(outcome);
                              }));
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
  EXPECT_EQ(outcomes, 0);
  EXPECT_TRUE(eventually([&] { return host.call(lane_begun).value_or(0) == 1; }));
  stop.request_stop();
  stop.request_stop();
  ASSERT_TRUE(drive(host, [&] { return outcomes != 0; }));
  EXPECT_EQ(code, errc::cancelled);
  EXPECT_TRUE(eventually([&] { return stops_of(host) == 1; }));
  (void)host.run_once();
  EXPECT_EQ(outcomes, 1);
}

TEST_F(calls_cancel, before_the_start_sends_nothing) {
  launched host = start_streams();
  std::stop_source stop;
  stop.request_stop();
  const call_options given_up{.stop = stop};
  const auto outcome = host.call(on_lane, given_up, 1);
  EXPECT_EQ(code_of(outcome), errc::cancelled);
  EXPECT_FALSE(outcome.error().maybe_executed);
  EXPECT_FALSE(host.call_async(
      on_lane, given_up, [](auto&&) { ADD_FAILURE(); }, 1));
  EXPECT_EQ(code_of(host.run(host.call_task(on_lane, given_up, 1))), errc::cancelled);
  EXPECT_EQ(host.call(lane_begun).value_or(-1), 0);
}

TEST_F(calls_cancel, by_destroying_a_task_that_waits) {
  launched host = start_streams();
  bool went_on = false;
  const auto waiting = [&]() -> task<> {
    (void)co_await host.call_task(co_until_stopped);
    went_on = true;
  };
  {
    const auto running = ferry::start(waiting());
    EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
    EXPECT_FALSE(running.done());
    EXPECT_EQ(host.stats().calls_in_flight, 1u);
  }
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
  EXPECT_TRUE(eventually([&] { return stops_of(host) == 1; }));
  EXPECT_FALSE(went_on);
}

TEST_F(calls_cancel, of_a_coroutine_by_its_token) {
  launched host = start_streams();
  std::stop_source stop;
  const auto both = [&]() -> task<errc> {
    auto loop = host.loop();
    auto waiting = [&]() -> task<errc> {
      const auto outcome = co_await host.call_task(co_until_stopped, {.stop = stop});
      co_return code_of(outcome);
    };
    auto asking = [&]() -> task<int> {
      co_await loop.sleep_for(20ms);
      stop.request_stop();
      co_return 0;
    };
    const auto [code, nothing] = co_await when_all(waiting(), asking());
    co_return code;
  };
  EXPECT_EQ(host.run(both()), errc::cancelled);
}

TEST_F(calls_cancel, ten_thousand_times_leaves_nothing_behind) {
  client_options options;
  options.max_calls = 64;
  launched host = start_streams(options);
  const int rounds = 10'000;
  for (int i = 0; i < rounds; ++i) {
    const auto running = ferry::start(
        [](client& to) -> task<> { (void)co_await to.call_task(co_until_stopped); }(host));
    if (i % 100 == 0) (void)host.run_once();
    // In line for room in the ring it has not begun.
    ASSERT_TRUE(drive(host, [&] { return host.stats().calls_in_flight != 0; }));
  }
  expect_nothing_left(host);
  EXPECT_TRUE(eventually([&] { return stops_of(host) == rounds; }));
}

TEST_F(calls_cancel, at_a_deadline_stops_the_function) {
  launched host = start_streams();
  EXPECT_EQ(code_of(host.call(until_stopped, {.timeout = 30ms})), errc::timeout);
  EXPECT_TRUE(eventually([&] { return stops_of(host) == 1; }));
  EXPECT_EQ(code_of(host.call(lane_until_stopped, {.timeout = 30ms})), errc::timeout);
  EXPECT_TRUE(eventually([&] { return stops_of(host) == 2; }));
}

TEST_F(calls_cancel, deadlines_are_inherited_given_or_none) {
  client_options options;
  options.timeout = 20s;
  launched host = start_streams(options);
  const long inherited = host.call(time_left_ms).value_or(-2);
  EXPECT_GT(inherited, 10'000);
  EXPECT_LE(inherited, 20'000);
  const long given = host.call(time_left_ms, {.timeout = 5s}).value_or(-2);
  EXPECT_GT(given, 1000);
  EXPECT_LE(given, 5000);
  EXPECT_EQ(host.call(time_left_ms, {.timeout = std::chrono::nanoseconds::max()}).value_or(-2), -1);
}

class functions : public streams_test {};

TEST_F(functions, answer_with_errors_of_their_own_type) {
  launched host = start_streams();
  const auto outcome = host.call(refuse, 7);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, errc::execution_failed);
  EXPECT_EQ(outcome.error().text, "refused: no");
  ASSERT_TRUE(outcome.error().detail);
  EXPECT_EQ(outcome.error().detail->code, 7);
  const auto awaited = host.run(host.call_task(refuse, 8));
  ASSERT_FALSE(awaited);
  EXPECT_EQ(awaited.error().detail->code, 8);
}

TEST_F(functions, of_bytes_take_and_give_them_as_they_are) {
  launched host = start_streams();
  for (const std::size_t size : {0u, 5u, 2048u, 1u << 20}) {
    auto filled = host.loan(size);
    ASSERT_TRUE(filled);
    std::memset(filled->data(), 'y', size);
    static const method<body(ferry::loan)> mirror_loan{"mirror"};
    const auto answer = host.call(mirror_loan, std::move(*filled));
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_EQ(answer->text(), std::string(size, 'y'));
  }
}

TEST_F(functions, on_lanes_run_and_wait_as_many_as_they_may) {
  launched host = start_streams();
  std::vector<errc> outcomes;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(host.call_async(
        on_lane,
        [&](const result<int, call_error>& outcome) { outcomes.push_back(code_of(outcome)); },
        100));
  }
  // Neither a ping nor another function waits for them.
  EXPECT_TRUE(host.ping());
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
  ASSERT_TRUE(drive(host, [&] { return outcomes.size() == 6; }));
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), errc{}), 3);
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), errc::overloaded), 3);
}

TEST_F(functions, that_wait_in_a_lane_and_are_cancelled_never_run) {
  launched host = start_streams();
  std::vector<errc> outcomes;
  const auto note = [&](const result<int, call_error>& outcome) {
    outcomes.push_back(code_of(outcome));
  };
  std::stop_source stop;
  ASSERT_TRUE(host.call_async(on_lane, note, 200));
  ASSERT_TRUE(host.call_async(on_lane, note, 200));
  ASSERT_TRUE(host.call_async(on_lane, {.stop = stop}, note, 0));
  EXPECT_TRUE(eventually([&] { return host.call(lane_begun).value_or(0) == 2; }));
  stop.request_stop();
  ASSERT_TRUE(drive(host, [&] { return outcomes.size() == 3; }));
  EXPECT_EQ(outcomes[0], errc::cancelled);
  EXPECT_EQ(host.call(on_lane, 0).value_or(-1), 0);
  EXPECT_EQ(host.call(lane_begun).value_or(0), 3);
}

TEST_F(functions, that_are_coroutines_overlap_up_to_their_limit) {
  launched host = start_streams();
  std::vector<errc> outcomes;
  const auto before = steady::now();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(host.call_async(
        co_sleep,
        [&](const result<int, call_error>& outcome) { outcomes.push_back(code_of(outcome)); }, 50));
  }
  ASSERT_TRUE(drive(host, [&] { return outcomes.size() == 200; }));
  EXPECT_LT(steady::now() - before, 5s);  // one after another they would take ten
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), errc{}), 200);
  outcomes.clear();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(host.call_async(
        co_limited,
        [&](const result<int, call_error>& outcome) { outcomes.push_back(code_of(outcome)); }, 20));
  }
  ASSERT_TRUE(drive(host, [&] { return outcomes.size() == 5; }));
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), errc{}), 3);
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), errc::overloaded), 2);
}

TEST_F(functions, are_registered_and_replaced_while_calls_run) {
  launched host = start_streams();
  EXPECT_EQ(host.call(version).value_or(0), 1);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::jthread> callers;
  for (int thread = 0; thread < 8; ++thread) {
    callers.emplace_back([&] {
      while (!done) {
        if (host.call(add, 20, 22).value_or(0) != 42) ++wrong;
      }
    });
  }
  EXPECT_EQ(host.call(replace, "1000").value_or(0), 1000);
  done = true;
  callers.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(host.call(version).value_or(0), 2);
  EXPECT_EQ(host.invoke<int>("generated.999").value_or(0), 999);
}

class loops : public streams_test {};

TEST_F(loops, drive_many_clients_whoever_calls) {
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  client_options options;
  options.loop = *shared;
  std::vector<launched> hosts;
  for (int i = 0; i < 4; ++i) hosts.push_back(start_streams(options));
  std::vector<std::jthread> threads;
  std::atomic<int> wrong{0};
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 2000; ++n) {
        if (hosts[i].call(add, n, static_cast<int>(i)).value_or(-1) != n + static_cast<int>(i)) {
          ++wrong;
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  int answered = 0;
  for (auto& host : hosts) {
    ASSERT_TRUE(host.call_async(
        add, [&](auto&& sum) { answered += sum ? 1 : 100; }, 1, 1));
  }
  const auto deadline = steady::now() + generous;
  while (answered < 4 && steady::now() < deadline) ASSERT_TRUE(shared->run_once(1s));
  EXPECT_EQ(answered, 4);
}

TEST_F(loops, go_on_when_one_of_their_clients_dies) {
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  client_options options;
  options.loop = *shared;
  launched good = start_streams(options);
  launched bad = start_streams(options);
  bool told = false;
  ASSERT_TRUE(bad.call_async(co_until_stopped, [&](const result<int, call_error>& outcome) {
    told = code_of(outcome) == errc::unavailable;
  }));
  bad.process().kill(9);
  const auto deadline = steady::now() + generous;
  while (!told && steady::now() < deadline) {
    EXPECT_EQ(good.call(add, 1, 2).value_or(0), 3);
    ASSERT_TRUE(shared->run_once(1ms));
  }
  EXPECT_TRUE(told);
  EXPECT_FALSE(bad.connected());
  EXPECT_EQ(good.call(add, 1, 2).value_or(0), 3);
}

TEST_F(loops, on_a_thread_of_their_own_run_callbacks_meanwhile) {
  auto driven = loop_thread::start();
  ASSERT_TRUE(driven);
  client_options options;
  options.loop = driven->loop();
  launched host = start_streams(options);
  std::atomic<int> answered{0};
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(host.call_async(
        add, [&](auto&&) { ++answered; }, i, i));
  }
  EXPECT_TRUE(eventually([&] { return answered == 100; }));
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);  // and blocking calls work beside it
  auto numbers = host.server_stream(count, 1000);
  EXPECT_EQ(all_of(numbers).first.size(), 1000u);
  std::atomic<bool> posted{false};
  driven->loop().post([&] { posted = true; });
  EXPECT_TRUE(eventually([&] { return posted.load(); }));
}

TEST_F(loops, run_what_was_posted_in_order_and_sleep_no_less_than_asked) {
  auto made = loop::create();
  ASSERT_TRUE(made);
  std::string order;
  made->post([&] { order += 'a'; });
  made->post([&] {
    order += 'b';
    made->post([&] { order += 'd'; });
  });
  made->post([&] { order += 'c'; });
  while (order.size() < 4) ASSERT_TRUE(made->run_once(1s));
  EXPECT_EQ(order, "abcd");
  const auto before = steady::now();
  made->run([](loop& on) -> task<> { co_await on.sleep_for(30ms); }(*made));
  EXPECT_GE(steady::now() - before, 30ms);
}

}  // namespace
}  // namespace ferry
