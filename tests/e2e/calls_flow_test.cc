// What happens when something is full: the ring, the call table, the returns ring, the body quota.
#include <functional>
#include <thread>

#include "tests/e2e/e2e.h"
#include "tests/e2e/tiny_ring.h"

namespace ferry {
namespace {

using calls_flow = e2e;

TEST_F(calls_flow, through_tiny_rings_loses_no_call_of_twenty_thousand) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto echo = id_of(host, "echo");
  constexpr std::size_t count = sanitized ? 4'000 : 20'000;
  std::vector<std::uint8_t> answered(count);
  std::size_t ended = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string text = std::to_string(i) + std::string(i % 100, '.');
    const auto started = host.call_async(echo, bytes_of(text), [&, i, text](call_result&& r) {
      if (text_of(r) == text) ++answered[i];
      ++ended;
    });
    ASSERT_TRUE(started) << i << ": " << started.error().message();
  }
  ASSERT_TRUE(drive(host, [&] { return ended == count; }));
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(answered[i], 1) << i;
  EXPECT_EQ(host.stats().stale_answers, 0u);
}

TEST_F(calls_flow, of_answers_that_had_to_wait_for_room_comes_once_each) {
  launched host = start(client_options{}, tiny_ring_worker);
  const auto hold = id_of(host, "hold"), release = id_of(host, "release"),
             echo = id_of(host, "echo");
  for (int round = 0; round < 20; ++round) {
    std::size_t ended = 0, right = 0;
    for (int i = 0; i < 100; ++i) {  // many more answers than its ring holds
      ASSERT_TRUE(host.call_async(hold, no_bytes, [&, i](call_result&& r) {
        right += text_of(r) == std::to_string(i);
        ++ended;
      }));
    }
    EXPECT_EQ(ask(host, "held"), "100");
    ASSERT_TRUE(host.call_async(release, no_bytes, [&](call_result&&) { ++ended; }));
    // Read late, when the worker has run into its full ring: now still awake, now fast asleep.
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 2));
    ASSERT_TRUE(drive(host, [&] { return ended == 101; }));
    EXPECT_EQ(right, 100u);
    EXPECT_EQ(text_of(host.call(echo, bytes_of("next"))), "next");  // all of it is read by then
    ASSERT_EQ(host.stats().stale_answers, 0u);
  }
}

TEST_F(calls_flow, with_a_full_ring_is_overloaded_at_once_for_who_does_not_wait) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto sleep = id_of(host, "sleep_ms"), echo = id_of(host, "echo");
  std::size_t started = 0, ended = 0;
  const auto count = [&](call_result&& r) {
    EXPECT_TRUE(r) << r.error().message();
    ++ended;
  };
  ASSERT_TRUE(host.call_async(sleep, bytes_of("100"), count));
  result<void, call_error> last;
  while (last) {
    last = host.call_async(echo, bytes_of(std::string(500, 'x')), count, without_waiting());
    if (last) ++started;
    ASSERT_LE(started, 20u) << "more than a ring can hold";
  }
  EXPECT_EQ(code_of(last), errc::overloaded);
  EXPECT_FALSE(last.error().maybe_executed);
  EXPECT_GE(started, 1u);
  ASSERT_TRUE(drive(host, [&] { return ended == started + 1; }));
  EXPECT_EQ(host.stats().calls_in_flight, 0u);  // the refused one does not linger
  EXPECT_EQ(ask(host, "echo", "room again"), "room again");
}

TEST_F(calls_flow, with_a_full_ring_waits_at_most_until_the_deadline) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto sleep = id_of(host, "sleep_ms"), echo = id_of(host, "echo");
  ASSERT_TRUE(host.call_async(sleep, bytes_of("300"), [](call_result&&) {}));
  while (host.call_async(
      echo, bytes_of(std::string(500, 'x')), [](call_result&&) {}, without_waiting())) {
  }
  call_options brief;
  brief.timeout = 10ms;
  EXPECT_EQ(code_of(host.call(echo, bytes_of(std::string(500, 'x')), brief)), errc::timeout);
  EXPECT_EQ(ask(host, "echo", "later"), "later");
}

// Nothing of a call that waits for room in the ring can run before call_async has returned.
TEST_F(calls_flow, with_a_full_ring_runs_no_callback_of_a_call_that_was_not_sent) {
  for (const bool dies : {true, false}) {
    launched host = start(tiny_ring(), tiny_ring_worker);
    const auto sleep = id_of(host, "sleep_ms"), echo = id_of(host, "echo");
    const std::string text(500, 'x');
    int others = 0, others_ended = 1;
    ASSERT_TRUE(host.call_async(sleep, bytes_of("500"), [&](call_result&&) { ++others; }));
    while (host.call_async(
        echo, bytes_of(text), [&](call_result&&) { ++others; }, without_waiting())) {
      ++others_ended;
    }
    std::jthread killer([&] {
      std::this_thread::sleep_for(50ms);
      if (dies) host.process().kill(SIGKILL);
    });
    call_options options;
    options.timeout = dies ? 30s : 100ms;
    bool ran = false;
    const auto started = host.call_async(
        echo, bytes_of(text), [&](call_result&&) { ran = true; }, options);
    EXPECT_FALSE(ran);
    EXPECT_EQ(code_of(started), dies ? errc::unavailable : errc::timeout);
    EXPECT_TRUE(started || !started.error().maybe_executed);
    EXPECT_TRUE(drive(host, [&] { return others == others_ended; }));
    EXPECT_FALSE(ran);
    EXPECT_EQ(host.stats().calls_in_flight, 0u);
  }
}

TEST_F(calls_flow, from_a_callback_is_overloaded_rather_than_waiting) {
  launched host = start(tiny_ring(), tiny_ring_worker);
  const auto sleep = id_of(host, "sleep_ms"), echo = id_of(host, "echo");
  errc refused{};
  ASSERT_TRUE(host.call_async(echo, no_bytes, [&](call_result&&) {
    EXPECT_TRUE(host.call_async(sleep, bytes_of("50"), [](call_result&&) {}));
    const std::string text(500, 'x');
    for (int i = 0; i < 50 && refused == errc{}; ++i) {
      refused = code_of(host.call_async(echo, bytes_of(text), [](call_result&&) {}));
    }
  }));
  ASSERT_TRUE(drive(host, [&] { return refused != errc{}; }));
  EXPECT_EQ(refused, errc::overloaded);
}

TEST_F(calls_flow, with_max_calls_in_flight_is_overloaded_or_waits_as_told) {
  client_options options;
  options.max_calls = 4;
  launched host = start(options);
  const auto hold = id_of(host, "hold"), sleep = id_of(host, "sleep_ms");
  std::size_t ended = 0;
  const auto count = [&](call_result&&) { ++ended; };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(host.call_async(hold, no_bytes, count));
  ASSERT_TRUE(host.call_async(sleep, bytes_of("50"), count));
  const auto refused = host.call_async(hold, no_bytes, count, without_waiting());
  EXPECT_EQ(code_of(refused), errc::overloaded);
  EXPECT_NE(refused.error().text.find('4'), std::string::npos) << refused.error().text;
  EXPECT_EQ(code_of(host.call(hold, no_bytes, without_waiting())), errc::overloaded);
  // Told to wait: there is room when the sleeper is done.
  EXPECT_EQ(ask(host, "echo", "waited"), "waited");
  EXPECT_EQ(ended, 1u);
  EXPECT_EQ(ask(host, "release"), "released");
  ASSERT_TRUE(drive(host, [&] { return ended == 4; }));
}

TEST_F(calls_flow, with_max_calls_in_flight_goes_on_from_callback_to_callback) {
  client_options options;
  options.max_calls = 4;
  launched host = start(options);
  const auto echo = id_of(host, "echo");
  constexpr int each = 500;
  int ended = 0, refused = 0;
  std::function<void(int)> next = [&](int left) {
    const auto started = host.call_async(
        echo, no_bytes,
        [&, left](call_result&&) {
          ++ended;
          if (left > 1) next(left - 1);
        },
        without_waiting());
    if (!started) ++refused;
  };
  for (std::uint32_t i = 0; i < options.max_calls; ++i) next(each);
  EXPECT_TRUE(drive(host, [&] { return refused != 0 || ended == 4 * each; }));
  EXPECT_EQ(refused, 0);
}

TEST_F(calls_flow, with_max_calls_in_flight_goes_on_in_coroutines) {
  client_options options;
  options.max_calls = 4;
  launched host = start(options);
  const auto echo = id_of(host, "echo");
  constexpr int each = 500;
  int ended = 0;
  const auto pipeline = [&]() -> task<> {
    for (int i = 0; i < each; ++i) {
      const auto answer = co_await host.call_task(echo, no_bytes, without_waiting());
      EXPECT_TRUE(answer) << answer.error().message();
      if (!answer) break;
    }
    ++ended;
  };
  for (std::uint32_t i = 0; i < options.max_calls; ++i) ferry::spawn(pipeline());
  EXPECT_TRUE(drive(host, [&] { return ended == 4; }));
}

TEST_F(calls_flow, with_max_calls_in_flight_waits_at_most_until_the_deadline) {
  client_options options;
  options.max_calls = 1;
  launched host = start(options);
  const auto hold = id_of(host, "hold");
  ASSERT_TRUE(host.call_async(hold, no_bytes, [](call_result&&) {}));
  call_options brief;
  brief.timeout = 20ms;
  const auto late = host.call(hold, no_bytes, brief);
  EXPECT_EQ(code_of(late), errc::timeout);
  EXPECT_FALSE(late.error().maybe_executed);
}

TEST_F(calls_flow, with_max_calls_in_flight_resumes_when_their_deadlines_pass) {
  client_options options;
  options.max_calls = 2;
  launched host = start(options);
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  call_options brief;
  brief.timeout = 50ms;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(host.call_async(
        hold, no_bytes, [](call_result&&) {}, brief));
  }
  const auto before = steady::now();
  EXPECT_EQ(text_of(host.call(echo, bytes_of("waited"))), "waited");
  EXPECT_LT(steady::now() - before, 20s);  // and not until its own deadline
}

TEST_F(calls_flow, of_bodies_that_the_worker_keeps_ends_at_its_returns_ring_and_resumes) {
  launched host = start(client_options{}, "returns_cells=16");
  const auto keep = id_of(host, "keep");
  const std::string large(5'000, 'b');
  for (int i = 1; i <= 14; ++i) {  // an eighth of the cells is spare
    EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), std::to_string(i));
  }
  EXPECT_EQ(code_of(host.call(keep, bytes_of(large), without_waiting())), errc::overloaded);
  call_options brief;
  brief.timeout = 20ms;
  EXPECT_EQ(code_of(host.call(keep, bytes_of(large), brief)), errc::timeout);
  EXPECT_EQ(ask(host, "echo", "small ones pass"), "small ones pass");
  EXPECT_EQ(ask(host, "forget"), "forgotten");
  EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), "1");
}

TEST_F(calls_flow, of_bodies_waits_for_one_that_comes_back) {
  launched host = start(client_options{}, "returns_cells=16");
  const auto sleep = id_of(host, "sleep_ms"), keep = id_of(host, "keep"),
             forget = id_of(host, "forget");
  const std::string large(5'000, 'b');
  for (int i = 0; i < 14; ++i) EXPECT_TRUE(host.call(keep, bytes_of(large)));
  ASSERT_TRUE(host.call_async(sleep, bytes_of("50"), [](call_result&&) {}));
  ASSERT_TRUE(host.call_async(forget, no_bytes, [](call_result&&) {}));
  EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), "1");  // waits until they are forgotten
}

TEST_F(calls_flow, of_answers_that_the_host_keeps_ends_at_its_returns_ring_and_resumes) {
  client_options options;
  options.session.returns_cells = 16;
  launched host = start(options);
  const auto make = id_of(host, "make");
  std::vector<body> kept;
  for (int i = 0; i < 14; ++i) {
    auto answer = host.call(make, bytes_of("5000 k"));
    ASSERT_TRUE(answer) << i << ": " << answer.error().message();
    kept.push_back(std::move(*answer));
  }
  call_options brief;
  brief.timeout = 50ms;
  EXPECT_EQ(code_of(host.call(make, bytes_of("5000 k"), brief)), errc::timeout);
  kept.pop_back();
  EXPECT_EQ(ask(host, "echo", "resumed"), "resumed");
  // The answer that had no room comes when there is some, before or after that of the next call.
  const auto limit = std::chrono::steady_clock::now() + generous;
  while (host.stats().stale_answers == 0 && std::chrono::steady_clock::now() < limit) {
    EXPECT_EQ(ask(host, "echo", "on"), "on");
  }
  EXPECT_EQ(host.stats().stale_answers, 1u);
  kept.clear();
  const auto again = host.call(make, bytes_of("5000 k"));
  EXPECT_TRUE(again) << again.error().message();
}

TEST_F(calls_flow, of_bodies_never_overruns_the_returns_ring) {
  client_options options;
  options.session.returns_cells = 16;
  launched host = start(options, "returns_cells=16");
  const auto echo = id_of(host, "echo_loan");
  std::vector<body> kept;
  const std::vector<std::byte> argument(3'000);
  for (std::size_t i = 0; i < 5'000; ++i) {
    auto answer = host.call(echo, argument);
    ASSERT_TRUE(answer) << i << ": " << answer.error().message();
    kept.push_back(std::move(*answer));
    if (kept.size() == 13) kept.resize(i % 13);  // give back a different number each time
  }
}

TEST_F(calls_flow, beyond_the_quota_is_overloaded_with_the_numbers_and_recovers) {
  client_options options;
  options.session.arena.quota_bytes = 8 << 20;
  launched host = start(options);
  const auto keep = id_of(host, "keep");
  const std::string large(3 << 20, 'q');
  EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), "1");
  call_result last = host.call(keep, bytes_of(large), without_waiting());
  for (int i = 0; i < 4 && last; ++i) last = host.call(keep, bytes_of(large), without_waiting());
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, errc::overloaded);
  EXPECT_NE(last.error().text.find("quota"), std::string::npos) << last.error().text;
  EXPECT_NE(last.error().text.find("3145728"), std::string::npos) << last.error().text;
  EXPECT_FALSE(last.error().maybe_executed);
  const auto refused = host.loan(large.size());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::no_memory);
  EXPECT_EQ(code_of(host.call("size", bytes_of(std::string(9 << 20, 'q')))), errc::overloaded);
  EXPECT_EQ(ask(host, "forget"), "forgotten");
  EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), "1");
}

TEST_F(calls_flow, beyond_the_quota_waits_for_bodies_that_come_back) {
  client_options options;
  options.session.arena.quota_bytes = 8 << 20;
  launched host = start(options);
  const auto keep = id_of(host, "keep"), sleep = id_of(host, "sleep_ms"),
             forget = id_of(host, "forget");
  const std::string large(3 << 20, 'q');
  while (host.call(keep, bytes_of(large), without_waiting())) {
  }
  call_options brief;
  brief.timeout = 20ms;
  EXPECT_EQ(code_of(host.call(keep, bytes_of(large), brief)), errc::timeout);
  ASSERT_TRUE(host.call_async(sleep, bytes_of("50"), [](call_result&&) {}));
  ASSERT_TRUE(host.call_async(forget, no_bytes, [](call_result&&) {}));
  EXPECT_EQ(text_of(host.call(keep, bytes_of(large))), "1");
  // More than there ever is, and the worker holds nothing that could come back.
  EXPECT_EQ(code_of(host.call(keep, bytes_of(std::string(9 << 20, 'q')))), errc::overloaded);
}

TEST_F(calls_flow, beyond_the_quota_of_the_worker_is_an_error_answer_with_the_reason) {
  launched host = start(client_options{}, "quota_bytes=1048576");
  const auto outcome = host.call("make", bytes_of("2000000 x"));
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().text.find("quota"), std::string::npos) << outcome.error().message();
  const auto copied = host.call("echo", bytes_of(std::string(2'000'000, 'x')));
  EXPECT_EQ(code_of(copied), errc::internal);
  EXPECT_NE(copied.error().text.find("quota"), std::string::npos) << copied.error().message();
  EXPECT_TRUE(host.call("make", bytes_of("500000 x")));
}

TEST_F(calls_flow, between_sides_of_different_inline_limits_arrives_both_ways) {
  for (const auto& [ours, theirs] : {std::pair{256u, 16384u}, std::pair{16384u, 256u}}) {
    client_options options;
    options.session.inline_limit = ours;
    launched host = start(options, "inline_limit=" + std::to_string(theirs));
    for (const std::size_t size : {0ul, 1ul, 64ul, 65ul, 5'000ul, 16'384ul, 20'000ul}) {
      std::vector<std::byte> sent(size);
      write_pattern(sent);
      const auto answer = host.call("echo", sent);
      ASSERT_TRUE(answer) << size << ": " << answer.error().message();
      EXPECT_TRUE(answer->size() == size && is_pattern(answer->bytes())) << size;
    }
  }
}

}  // namespace
}  // namespace ferry
