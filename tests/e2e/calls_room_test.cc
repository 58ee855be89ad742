// Calls of coroutines that find no room: they wait in line, and end by whatever ends a call.
#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "tests/e2e/e2e.h"
#include "tests/e2e/tiny_ring.h"

namespace ferry {
namespace {

using calls_room = e2e;

inline const method<int(int, int)> add{"add"};
inline const method<std::string(std::string, std::string)> concat{"concat"};

client_options with_places(std::uint32_t count) {
  client_options options;
  options.max_calls = count;
  return options;
}
call_options within(std::chrono::nanoseconds timeout) {
  call_options options;
  options.timeout = timeout;
  return options;
}

// Runs a call of a coroutine and notes its outcome, at the latest when the client goes: `outcomes`
// must outlive it.
task<> note(client& host, function_id function, std::span<const std::byte> argument,
            call_options options, std::vector<call_result>& outcomes) {
  outcomes.push_back(co_await host.call_task(function, argument, options));
}
bool ended_as(const std::vector<call_result>& outcomes, errc code, bool maybe_executed = false) {
  return outcomes.size() == 1 && code_of(outcomes[0]) == code &&
         outcomes[0].error().maybe_executed == maybe_executed;
}

// Calls until there is no room for the smallest in the ring of a worker that is busy so long. How
// many.
int fill(client& host, function_id sleep, function_id echo, int busy_ms, int& ended) {
  const auto count = [&](call_result&&) { ++ended; };
  int started = 0;
  started += !!host.call_async(sleep, bytes_of(std::to_string(busy_ms)), count);
  const std::string text(500, 'x');
  for (int again = 0; again < 3; ++again) {  // the worker may have read something meanwhile
    while (host.call_async(echo, bytes_of(text), count, without_waiting())) ++started;
    while (host.call_async(echo, no_bytes, count, without_waiting())) ++started;
    std::this_thread::sleep_for(10ms);
  }
  return started;
}

TEST_F(calls_room, of_two_thousand_coroutines_all_succeed) {
  launched host = start();  // 1024 places
  constexpr int count = 2'000, rounds = 3;
  int right = 0, ended = 0;
  const auto work = [&](int i) -> task<> {
    for (int round = 0; round < rounds; ++round) {
      const auto sum = co_await host.call_task(add, i, round);
      EXPECT_TRUE(sum) << sum.error().message();
      if (sum && *sum == i + round) ++right;
    }
    ++ended;
  };
  for (int i = 0; i < count; ++i) ferry::spawn(work(i));
  ASSERT_TRUE(drive(host, [&] { return ended == count; })) << ended;
  EXPECT_EQ(right, count * rounds);
}

TEST_F(calls_room, is_given_in_the_order_in_which_they_came) {
  launched host = start(with_places(1));
  const auto echo = id_of(host, "echo");
  std::vector<int> order;
  const auto work = [&](int i) -> task<> {
    const auto answer = co_await host.call_task(echo, no_bytes);
    EXPECT_TRUE(answer) << answer.error().message();
    order.push_back(i);
  };
  constexpr int count = 100;
  for (int i = 0; i < count; ++i) ferry::spawn(work(i));
  ASSERT_TRUE(drive(host, [&] { return order.size() == count; }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(calls_room, comes_also_while_blocking_calls_drive) {
  launched host = start(with_places(2));
  const auto echo = id_of(host, "echo");
  std::atomic<int> ended{0};  // by whoever drives
  const auto work = [&]() -> task<> {
    const auto answer = co_await host.call_task(echo, no_bytes);
    EXPECT_TRUE(answer) << answer.error().message();
    ++ended;
  };
  constexpr int count = 50;
  for (int i = 0; i < count; ++i) ferry::spawn(work());
  std::jthread other([&] {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(ask(host, "echo", "x"), "x");
  });
  ASSERT_TRUE(drive(host, [&] { return ended == count; })) << ended;
}

TEST_F(calls_room, is_not_waited_for_by_who_does_not_want_to) {
  std::vector<call_result> held, waiting, refused;
  launched host = start(with_places(1));
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  ferry::spawn(note(host, hold, no_bytes, {}, held));
  ferry::spawn(note(host, echo, no_bytes, {}, waiting));
  ferry::spawn(note(host, echo, no_bytes, without_waiting(), refused));
  EXPECT_TRUE(ended_as(refused, errc::overloaded));
  EXPECT_TRUE(waiting.empty());
}

TEST_F(calls_room, is_waited_for_until_the_deadline) {
  std::vector<call_result> held, late, patient;
  launched host = start(with_places(1));
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  ferry::spawn(note(host, hold, no_bytes, within(300ms), held));
  ferry::spawn(note(host, echo, no_bytes, within(20ms), late));
  ferry::spawn(note(host, echo, bytes_of("patient"), {}, patient));
  EXPECT_TRUE(late.empty());
  const auto before = steady::now();
  ASSERT_TRUE(drive(host, [&] { return !patient.empty(); }));
  EXPECT_LT(steady::now() - before, 20s);
  EXPECT_TRUE(ended_as(late, errc::timeout));
  EXPECT_TRUE(ended_as(held, errc::timeout, true));
  EXPECT_EQ(text_of(patient[0]), "patient");
}

TEST_F(calls_room, is_waited_for_until_a_stop_is_requested) {
  std::vector<call_result> held, stopped, patient;
  launched host = start(with_places(1));
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  std::stop_source stop;
  call_options options;
  options.stop = stop;
  ferry::spawn(note(host, hold, no_bytes, {}, held));
  ferry::spawn(note(host, echo, no_bytes, options, stopped));
  ferry::spawn(note(host, echo, bytes_of("patient"), {}, patient));
  (void)host.run_once();
  EXPECT_TRUE(stopped.empty());
  std::jthread([&] { stop.request_stop(); }).join();
  ASSERT_TRUE(drive(host, [&] { return !stopped.empty(); }));
  EXPECT_TRUE(ended_as(stopped, errc::cancelled));
  EXPECT_TRUE(held.empty() && patient.empty());
}

TEST_F(calls_room, is_not_waited_for_any_more_by_what_was_destroyed) {
  std::vector<call_result> held, gone, patient;
  launched host = start(with_places(1));
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  auto first = ferry::start(note(host, hold, no_bytes, {}, held));
  std::vector<spawned> others;
  for (int i = 0; i < 3; ++i) {
    others.push_back(ferry::start(note(host, echo, no_bytes, {}, gone)));
    others.push_back(ferry::start(note(host, echo, bytes_of("patient"), {}, patient)));
  }
  for (std::size_t i = 0; i < others.size(); i += 2) others[i] = {};
  first = {};  // its place is free
  ASSERT_TRUE(drive(host, [&] { return patient.size() == 3; }));
  for (const auto& each : patient) EXPECT_EQ(text_of(each), "patient");
  EXPECT_TRUE(gone.empty() && held.empty());
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
}

TEST_F(calls_room, is_waited_for_until_the_session_ends) {
  for (const bool dies : {true, false}) {
    std::vector<call_result> held, first, second;
    std::optional<launched> host(start(with_places(1)));
    const auto hold = id_of(*host, "hold"), echo = id_of(*host, "echo");
    ferry::spawn(note(*host, hold, no_bytes, {}, held));
    ferry::spawn(note(*host, echo, no_bytes, {}, first));
    ferry::spawn(note(*host, echo, no_bytes, {}, second));
    if (dies) {
      host->process().kill(SIGKILL);
      ASSERT_TRUE(drive(*host, [&] { return !second.empty(); }));
    } else {
      host.reset();
    }
    const errc code = dies ? errc::unavailable : errc::closed;
    EXPECT_TRUE(ended_as(held, code, true));
    EXPECT_TRUE(ended_as(first, code));
    EXPECT_TRUE(ended_as(second, code));
  }
}

TEST_F(calls_room, in_a_tiny_ring_comes_to_every_coroutine) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto echo = id_of(host, "echo");
  const std::string text(500, 'x');
  int ended = 0, right = 0;
  const auto work = [&]() -> task<> {
    for (int i = 0; i < 5; ++i) {
      right += text_of(co_await host.call_task(echo, bytes_of(text))) == text;
    }
    ++ended;
  };
  for (int i = 0; i < 200; ++i) ferry::spawn(work());
  ASSERT_TRUE(drive(host, [&] { return ended == 200; })) << ended;
  EXPECT_EQ(right, 1'000);
}

TEST_F(calls_room, to_name_a_function_is_waited_for) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  int ended = 0;
  const int started = fill(host, id_of(host, "sleep_ms"), id_of(host, "echo"), 500, ended);
  std::optional<result<int, call_error>> sum, refused;
  const auto patient = [&]() -> task<> { sum = co_await host.call_task(add, 1, 2); };
  const auto hasty = [&]() -> task<> {
    const auto text = co_await host.call_task(concat, without_waiting(), "a", "b");
    refused.emplace(call_error{code_of(text), "", false});
  };
  ferry::spawn(patient());
  ferry::spawn(hasty());
  EXPECT_FALSE(sum);
  ASSERT_TRUE(refused);
  EXPECT_EQ(code_of(*refused), errc::overloaded);
  ASSERT_TRUE(drive(host, [&] { return sum && ended == started; }));
  EXPECT_EQ(sum->value_or(0), 3);
}

// What begins outside of run_once is not resumed, and its frame not freed, before that has begun.
TEST_F(calls_room, is_never_made_by_driving_inside_a_coroutine) {
  std::vector<call_result> outcomes;
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto echo = id_of(host, "echo");
  int ended = 0;
  const int started = fill(host, id_of(host, "sleep_ms"), echo, 10'000, ended);
  host.process().kill(SIGKILL);
  const std::string text(500, 'x');
  ferry::spawn(note(host, echo, bytes_of(text), within(generous), outcomes));
  EXPECT_TRUE(outcomes.empty());
  EXPECT_EQ(ended, 0);
  ASSERT_TRUE(drive(host, [&] { return !outcomes.empty(); }));
  EXPECT_TRUE(ended_as(outcomes, errc::unavailable));
  EXPECT_EQ(ended, started);
}

TEST_F(calls_room, for_bodies_is_waited_for_while_calls_without_them_pass) {
  for (const bool quota : {false, true}) {
    client_options options;
    if (quota) options.session.arena.quota_bytes = 8 << 20;
    std::vector<call_result> kept, late, forgotten, refused;
    launched host = start(options, quota ? "" : "returns_cells=16");
    const auto keep = id_of(host, "keep"), forget = id_of(host, "forget");
    const std::string large(quota ? 3 << 20 : 5'000, 'q');
    while (host.call(keep, bytes_of(large), without_waiting())) {
    }
    ferry::spawn(note(host, keep, bytes_of(large), {}, kept));
    ferry::spawn(note(host, keep, bytes_of(large), within(20ms), late));
    ferry::spawn(note(host, keep, bytes_of(large), without_waiting(), refused));
    EXPECT_TRUE(ended_as(refused, errc::overloaded));
    ASSERT_TRUE(drive(host, [&] { return !late.empty(); }));
    EXPECT_TRUE(ended_as(late, errc::timeout));
    EXPECT_TRUE(kept.empty());
    ferry::spawn(note(host, forget, no_bytes, {}, forgotten));
    ASSERT_TRUE(drive(host, [&] { return !kept.empty(); }));
    EXPECT_EQ(text_of(kept[0]), "1");
    ASSERT_EQ(forgotten.size(), 1u);
    EXPECT_EQ(text_of(forgotten[0]), "forgotten");
  }
}

TEST_F(calls_room, of_loans_is_waited_for_and_the_loan_kept_meanwhile) {
  launched host = start(client_options{}, "returns_cells=16");
  const auto keep = id_of(host, "keep"), forget = id_of(host, "forget");
  const std::string large(5'000, 'q');
  while (host.call(keep, bytes_of(large), without_waiting())) {
  }
  std::optional<call_result> kept;
  const auto work = [&]() -> task<> {
    auto argument = host.loan(5'000);
    if (!argument) co_return;
    kept.emplace(co_await host.call_task(keep, std::move(*argument)));
  };
  ferry::spawn(work());
  EXPECT_FALSE(kept);
  EXPECT_TRUE(host.call(forget, no_bytes));
  ASSERT_TRUE(drive(host, [&] { return kept.has_value(); }));
  EXPECT_EQ(text_of(*kept), "1");
}

}  // namespace
}  // namespace ferry
