// Deadlines: how calls end without an answer, and what of it the worker sees.
#include <optional>

#include "tests/e2e/e2e.h"

namespace ferry {
namespace {

using calls_deadline = e2e;

call_options within(std::chrono::nanoseconds timeout) {
  call_options options;
  options.timeout = timeout;
  return options;
}

TEST_F(calls_deadline, end_a_blocking_call_and_leave_the_session_usable) {
  launched host = start();
  const auto before = steady::now();
  const auto outcome = host.call("sleep_ms", bytes_of("200"), within(20ms));
  EXPECT_EQ(code_of(outcome), errc::timeout);
  EXPECT_TRUE(outcome.error().maybe_executed);
  EXPECT_GE(steady::now() - before, 20ms);
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
  // Answered after the sleep; the stale answer lies before this one and is dropped.
  EXPECT_EQ(ask(host, "echo", "next"), "next");
  EXPECT_EQ(host.stats().stale_answers, 1u);
}

TEST_F(calls_deadline, end_an_asynchronous_call_while_the_host_runs) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  std::optional<call_result> outcome;
  const auto before = steady::now();
  ASSERT_TRUE(host.call_async(
      hold, no_bytes, [&](call_result&& r) { outcome.emplace(std::move(r)); }, within(30ms)));
  ASSERT_TRUE(drive(host, [&] { return outcome.has_value(); }));
  EXPECT_GE(steady::now() - before, 30ms);
  EXPECT_EQ(code_of(*outcome), errc::timeout);
  EXPECT_TRUE(outcome->error().maybe_executed);
  EXPECT_EQ(ask(host, "release"), "released");
  EXPECT_EQ(ask(host, "echo", "next"), "next");
  EXPECT_EQ(host.stats().stale_answers, 0u);  // the worker was told, and sent none
}

TEST_F(calls_deadline, end_asynchronous_calls_in_the_order_in_which_they_pass) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  std::vector<int> order;
  for (const int ms : {90, 30, 60}) {
    ASSERT_TRUE(host.call_async(
        hold, no_bytes,
        [&, ms](call_result&& r) {
          EXPECT_EQ(code_of(r), errc::timeout);
          order.push_back(ms);
        },
        within(std::chrono::milliseconds(ms))));
  }
  ASSERT_TRUE(drive(host, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector<int>{30, 60, 90}));
}

TEST_F(calls_deadline, end_asynchronous_calls_also_while_another_thread_waits_for_an_answer) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  std::atomic<bool> ended{false};
  ASSERT_TRUE(host.call_async(
      hold, no_bytes,
      [&](call_result&& r) {
        EXPECT_EQ(code_of(r), errc::timeout);
        ended = true;
      },
      within(20ms)));
  EXPECT_EQ(ask(host, "sleep_ms", "100"), "slept");  // blocks, and drives meanwhile
  EXPECT_TRUE(ended);
}

TEST_F(calls_deadline, are_seen_by_the_function_as_the_time_that_is_left) {
  launched host = start();
  const auto left_ms = [&](call_options options) {
    return std::stoll(text_of(host.call("left_ms", no_bytes, options)));
  };
  const auto left = left_ms(within(40s));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, 40'000);
  EXPECT_GT(left_ms({}), 0);  // the client's, 30 s
  EXPECT_LE(left_ms({}), 30'000);
  EXPECT_EQ(left_ms(within(std::chrono::nanoseconds::max())), -1);
}

TEST_F(calls_deadline, of_the_client_count_for_calls_that_name_none) {
  client_options options;
  options.timeout = 30ms;
  launched host = start(options);
  EXPECT_EQ(code_of(host.call("hold", no_bytes)), errc::timeout);
}

TEST_F(calls_deadline, that_have_passed_already_end_the_call_at_once) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  for (const auto timeout : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-1),
                             std::chrono::nanoseconds::min()}) {
    EXPECT_EQ(code_of(host.call(hold, no_bytes, within(timeout))), errc::timeout);
    std::optional<call_result> outcome;
    ASSERT_TRUE(host.call_async(
        hold, no_bytes, [&](call_result&& r) { outcome.emplace(std::move(r)); }, within(timeout)));
    EXPECT_FALSE(outcome.has_value());  // never from inside call_async
    ASSERT_TRUE(drive(host, [&] { return outcome.has_value(); }));
    EXPECT_EQ(code_of(*outcome), errc::timeout);
  }
  EXPECT_EQ(ask(host, "held"), "0");  // none of them left
}

TEST_F(calls_deadline, in_a_distant_future_are_as_good_as_none) {
  launched host = start();
  for (const auto timeout : {std::chrono::nanoseconds::max(), std::chrono::nanoseconds::max() - 1ns,
                             std::chrono::nanoseconds(std::chrono::hours(24 * 365 * 200))}) {
    EXPECT_EQ(text_of(host.call("echo", bytes_of("x"), within(timeout))), "x");
    std::string answer;
    ASSERT_TRUE(host.call_async(
        id_of(host, "echo"), bytes_of("y"), [&](call_result&& r) { answer = text_of(r); },
        within(timeout)));
    ASSERT_TRUE(drive(host, [&] { return !answer.empty(); }));
    EXPECT_EQ(answer, "y");
  }
}

TEST_F(calls_deadline, bound_the_question_for_a_function_too) {
  launched host = start();
  const auto hold = id_of(host, "hold"), sleep = id_of(host, "sleep_ms");
  ASSERT_TRUE(host.call_async(sleep, bytes_of("150"), [](call_result&&) {}));
  ASSERT_TRUE(host.call_async(hold, no_bytes, [](call_result&&) {}));
  const auto late = host.function("echo", within(10ms));
  EXPECT_EQ(code_of(late), errc::timeout);
  EXPECT_TRUE(host.function("echo"));
}

TEST_F(calls_deadline, bound_the_question_for_a_function_and_its_call_together) {
  launched host = start();
  constexpr auto brief = 2500ms;
  ASSERT_TRUE(host.call_async(id_of(host, "sleep_ms"), bytes_of("1500"), [](call_result&&) {}));
  const auto before = steady::now();
  EXPECT_EQ(code_of(host.call("hold", no_bytes, within(brief))), errc::timeout);
  EXPECT_GE(steady::now() - before, brief);
  EXPECT_LT(steady::now() - before, 3700ms);  // one after the other take 4 s
}

TEST_F(calls_deadline, of_many_calls_leave_none_of_them_in_the_table) {
  client_options options;
  options.max_calls = 64;
  launched host = start(options);
  const auto hold = id_of(host, "hold");
  for (int round = 0; round < 20; ++round) {
    std::size_t ended = 0;
    for (int i = 0; i < 64; ++i) {
      ASSERT_TRUE(host.call_async(
          hold, no_bytes, [&](call_result&&) { ++ended; }, within(1ms)));
    }
    ASSERT_TRUE(drive(host, [&] { return ended == 64; }));
  }
  EXPECT_EQ(ask(host, "release"), "released");
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
  EXPECT_EQ(ask(host, "echo", "next"), "next");
  EXPECT_EQ(host.stats().stale_answers, 0u);
}

}  // namespace
}  // namespace ferry
