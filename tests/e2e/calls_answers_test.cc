// How calls end: answers in any order and from any thread, errors, exceptions, typed functions.
#include <optional>

#include "tests/e2e/e2e.h"

namespace ferry {
namespace {

using calls_answers = e2e;

struct point {
  int x = 0, y = 0;
  static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
};

TEST_F(calls_answers, come_over_the_reactor_that_the_environment_asks_for) {
  launched host = start();
  const char* expected = std::getenv("FERRY_TEST_REACTOR");
  if (expected == nullptr) expected = host.reactor_name();
  EXPECT_STREQ(host.reactor_name(), expected);
  EXPECT_EQ(ask(host, "reactor"), expected);
}

TEST_F(calls_answers, reach_each_of_many_calls_in_flight) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  std::vector<std::string> answers(500);
  std::size_t ended = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const std::string text = std::to_string(i);
    const auto started = host.call_async(echo, bytes_of(text), [&, i](call_result&& r) {
      answers[i] = text_of(r);
      ++ended;
    });
    ASSERT_TRUE(started) << started.error().message();
  }
  ASSERT_TRUE(drive(host, [&] { return ended == answers.size(); }));
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i], std::to_string(i));
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
}

TEST_F(calls_answers, may_come_in_another_order_than_their_calls) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  std::vector<std::string> order;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(host.call_async(hold, no_bytes, [&, i](call_result&& r) {
      order.push_back(std::to_string(i) + "=" + text_of(r));
    }));
  }
  EXPECT_EQ(ask(host, "held"), "5");
  EXPECT_TRUE(order.empty());
  EXPECT_EQ(host.stats().calls_in_flight, 5u);
  EXPECT_EQ(ask(host, "release"), "released");
  ASSERT_TRUE(drive(host, [&] { return order.size() == 5; }));
  EXPECT_EQ(order, (std::vector<std::string>{"4=4", "3=3", "2=2", "1=1", "0=0"}));
}

TEST_F(calls_answers, may_come_from_another_thread_of_the_worker) {
  launched host = start();
  for (const std::size_t size : {5ul, 500ul, 50'000ul}) {
    std::vector<std::byte> sent(size);
    write_pattern(sent);
    const auto answer = host.call("from_thread", sent);
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_TRUE(answer->size() == size && is_pattern(answer->bytes())) << size;
  }
}

TEST_F(calls_answers, are_given_for_a_function_that_drops_its_responder) {
  launched host = start();
  std::optional<call_result> outcome;
  ASSERT_TRUE(host.call_async(id_of(host, "hold"), no_bytes,
                              [&](call_result&& r) { outcome.emplace(std::move(r)); }));
  EXPECT_EQ(ask(host, "drop_held"), "dropped");
  ASSERT_TRUE(drive(host, [&] { return outcome.has_value(); }));
  EXPECT_EQ(code_of(*outcome), errc::execution_failed);
  EXPECT_NE(outcome->error().text.find("without an answer"), std::string::npos);
}

TEST_F(calls_answers, are_given_for_a_function_that_says_nothing) {
  launched host = start();
  const auto outcome = host.call("silent", no_bytes);
  EXPECT_EQ(code_of(outcome), errc::execution_failed);
  EXPECT_TRUE(outcome.error().maybe_executed);
}

TEST_F(calls_answers, are_given_once_and_a_second_one_is_refused) {
  launched host = start();
  EXPECT_EQ(ask(host, "twice"), "first");
  EXPECT_EQ(ask(host, "echo", "alive"), "alive");  // the worker would have aborted
  EXPECT_EQ(host.stats().stale_answers, 0u);
}

TEST_F(calls_answers, that_are_errors_carry_the_code_and_the_text_of_the_function) {
  launched host = start();
  const auto outcome = host.call("fail", bytes_of("out of paper"));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(static_cast<int>(outcome.error().code), 2042);
  EXPECT_EQ(outcome.error().text, "out of paper");
  EXPECT_TRUE(outcome.error().maybe_executed);
  const auto empty = host.call("fail", no_bytes);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().text, "");
}

TEST_F(calls_answers, that_are_errors_with_a_long_text_are_cut_not_lost) {
  launched host = start();
  const auto outcome = host.call("fail", bytes_of(std::string(100'000, 'e')));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(static_cast<int>(outcome.error().code), 2042);
  EXPECT_GE(outcome.error().text.size(), 100u);
  EXPECT_EQ(outcome.error().text.find_first_not_of('e'), std::string::npos);
}

TEST_F(calls_answers, tell_of_the_exception_that_a_function_threw) {
  launched host = start();
  const auto known = host.call("throw", bytes_of("no such table"));
  EXPECT_EQ(code_of(known), errc::panic);
  EXPECT_EQ(known.error().text, "no such table");
  const auto odd = host.call("throw_odd", no_bytes);
  EXPECT_EQ(code_of(odd), errc::panic);
  EXPECT_FALSE(odd.error().text.empty());
  EXPECT_EQ(ask(host, "echo", "alive"), "alive");
}

TEST_F(calls_answers, name_the_function_that_the_worker_does_not_have) {
  launched host = start();
  const auto outcome = host.call("ecko", no_bytes);
  EXPECT_EQ(code_of(outcome), errc::function_not_found);
  EXPECT_NE(outcome.error().text.find("'ecko'"), std::string::npos) << outcome.error().text;
  EXPECT_EQ(code_of(host.invoke<int>("substract", 1, 2)), errc::function_not_found);
  EXPECT_EQ(code_of(host.call("", no_bytes)), errc::invalid_request);
  EXPECT_EQ(code_of(host.call(std::string(100'000, 'f'), no_bytes)), errc::function_not_found);
  EXPECT_EQ(code_of(host.call(function_id{123'456}, no_bytes)), errc::function_not_found);
}

TEST_F(calls_answers, to_the_question_for_a_function_are_remembered) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  EXPECT_EQ(id_of(host, "echo"), echo);
  EXPECT_NE(id_of(host, "size"), echo);
  host.process().kill(SIGKILL);
  ASSERT_TRUE(host.process().wait(generous));
  EXPECT_EQ(id_of(host, "echo"), echo);  // nobody is there to ask
}

TEST_F(calls_answers, of_typed_functions_are_values) {
  launched host = start();
  EXPECT_EQ(*host.invoke<int>("add", 2, 40), 42);
  EXPECT_EQ(*host.invoke<int>("add", -5, 3), -2);
  EXPECT_EQ(*host.invoke<std::string>("concat", "fer", std::string("ry")), "ferry");
  const auto mirrored = host.invoke<point>("mirror", point{1, 2});
  ASSERT_TRUE(mirrored);
  EXPECT_EQ(mirrored->x, 2);
  EXPECT_EQ(mirrored->y, 1);
  const std::vector<std::byte> large(1'000'000);
  EXPECT_EQ(*host.invoke<std::size_t>("length", large), large.size());
  EXPECT_EQ(host.invoke<std::string>("concat", std::string(5'000, 'a'), "b")->size(), 5'001u);
}

TEST_F(calls_answers, of_functions_without_a_value_are_just_success) {
  launched host = start();
  EXPECT_TRUE(host.invoke<void>("nothing", true));
  EXPECT_TRUE(host.invoke<void>("check", 1));
  const auto refused = host.invoke<void>("check", -1);
  EXPECT_EQ(code_of(refused), errc::unauthorized);
  EXPECT_NE(refused.error().text.find("negative"), std::string::npos);
}

TEST_F(calls_answers, of_typed_functions_that_fail_are_the_error_they_returned) {
  launched host = start();
  EXPECT_EQ(*host.invoke<int>("divide", 84, 2), 42);
  const auto outcome = host.invoke<int>("divide", 1, 0);
  EXPECT_EQ(code_of(outcome), errc::invalid_params);
  EXPECT_EQ(outcome.error().text, "division by zero");
}

TEST_F(calls_answers, to_arguments_that_do_not_fit_say_what_is_wrong) {
  launched host = start();
  const auto few = host.invoke<int>("add", 1);
  EXPECT_EQ(code_of(few), errc::invalid_params);
  EXPECT_NE(few.error().text.find("number of arguments"), std::string::npos) << few.error().text;
  EXPECT_EQ(code_of(host.invoke<int>("add", 1, 2, 3)), errc::invalid_params);
  EXPECT_EQ(code_of(host.invoke<int>("add", "one", 2)), errc::invalid_params);
  EXPECT_EQ(code_of(host.invoke<int>("add", 1, 1LL << 40)), errc::invalid_params);
  EXPECT_EQ(code_of(host.call("add", bytes_of("\xc1 not MessagePack"))), errc::invalid_params);
  EXPECT_EQ(code_of(host.call("add", no_bytes)), errc::invalid_params);
  EXPECT_EQ(*host.invoke<int>("add", 1, 2), 3);
}

TEST_F(calls_answers, of_another_type_than_expected_are_an_error_of_the_caller) {
  launched host = start();
  const auto outcome = host.invoke<std::string>("add", 1, 2);
  EXPECT_EQ(code_of(outcome), errc::internal);
  EXPECT_NE(outcome.error().text.find("does not decode"), std::string::npos);
}

TEST_F(calls_answers, end_as_closed_for_the_calls_that_a_host_leaves_behind) {
  std::vector<call_error> ends;
  {
    launched host = start();
    const auto hold = id_of(host, "hold");
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(
          host.call_async(hold, no_bytes, [&](call_result&& r) { ends.push_back(r.error()); }));
    }
    EXPECT_TRUE(ends.empty());
  }
  ASSERT_EQ(ends.size(), 3u);
  for (const auto& end : ends) {
    EXPECT_EQ(end.code, errc::closed);
    EXPECT_TRUE(end.maybe_executed);
  }
}

TEST_F(calls_answers, after_close_are_closed_and_say_that_nothing_was_run) {
  launched host = start();
  std::optional<call_result> open;
  ASSERT_TRUE(host.call_async(id_of(host, "hold"), no_bytes,
                              [&](call_result&& r) { open.emplace(std::move(r)); }));
  host.close();
  host.close();
  EXPECT_FALSE(host.connected());
  const auto late = host.call("hold", no_bytes);
  EXPECT_EQ(code_of(late), errc::closed);
  EXPECT_FALSE(late.error().maybe_executed);
  (void)host.run_once();
  ASSERT_TRUE(open.has_value());
  EXPECT_EQ(code_of(*open), errc::closed);
  EXPECT_TRUE(open->error().maybe_executed);
  EXPECT_EQ(host.process().wait(generous).value().message(), "exit status 0");
}

}  // namespace
}  // namespace ferry
