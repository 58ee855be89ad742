// What calls leave behind at a worker: nothing, however they end.
#include <unistd.h>

#include <atomic>

#include "engine/coro/manual_event.h"
#include "tests/unit/worker/one_process.h"

namespace ferry {
namespace {

inline const method<int(int)> on_lane{"on_lane"};
inline const method<int(int)> limited{"limited"};
inline const method<int()> plain{"plain"};
inline const method<int(int)> echo{"echo"};
inline const method<streamed<int>(int)> count{"count"};
inline const method<streamed<int>(streamed<int>)> twice{"twice"};

// Descriptors that a session of `talk` keeps once the worker and the host are gone.
template <class Talk>
void expect_nothing_kept(Talk talk) {
  const auto once = [&] {
    auto w = std::make_unique<worker>();
    talk(*w);
  };
  once();  // the first may make what is kept
  const std::size_t before = open_descriptors();
  once();
  EXPECT_EQ(open_descriptors(), before);
}

TEST(call_life, a_stream_that_was_read_to_its_end_keeps_no_session_open) {
  expect_nothing_kept([](worker& w) {
    w.function(count, [](int end, sink<int>& out) {
      for (int i = 0; i < end; ++i) (void)out.write(i);
    });
    client host = attach_to(w);
    auto items = host.server_stream(count, 3);
    int seen = 0;
    EXPECT_TRUE(turn_until(w, host, [&] {
      auto item = items.try_next();
      if (item && *item && **item) ++seen;
      return item && *item && !**item;
    }));
    EXPECT_EQ(seen, 3);
  });
}

TEST(call_life, a_stream_that_was_dropped_keeps_no_session_open) {
  expect_nothing_kept([](worker& w) {
    w.function(twice, [](stream<int>& in, sink<int>& out) -> task<> {
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        if (!co_await out.send(2 * **item)) co_return;
      }
    });
    client host = attach_to(w);
    auto talk = host.open(twice);
    int one = 1;
    EXPECT_TRUE(talk.try_send(one).value_or(false));
    EXPECT_TRUE(turn_until(w, host, [&] { return talk.responses().try_next().has_value(); }));
  });
}

TEST(call_life, a_call_that_was_refused_keeps_no_session_open) {
  expect_nothing_kept([](worker& w) {
    manual_event go;
    w.function(limited,
               [&](int value) -> task<int> {
                 co_await go;
                 co_return value;
               },
               {.concurrency = 1, .queue_limit = 0});
    client host = attach_to(w);
    int good = 0, refused = 0;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(host.call_async(
          limited, [&](auto&& r) { r ? ++good : ++refused; }, i));
    }
    EXPECT_TRUE(turn_until(w, host, [&] { return refused == 2; }));
    w.loop().post([&] { go.set(); });
    EXPECT_TRUE(turn_until(w, host, [&] { return good == 1; }));
  });
}

TEST(call_life, a_queued_call_that_was_cancelled_keeps_no_session_open) {
  expect_nothing_kept([](worker& w) {
    std::atomic<bool> begun{false}, go{false};
    std::atomic<int> ran{0};
    w.function(on_lane,
               [&](int value) {
                 begun = true;
                 while (!go) std::this_thread::sleep_for(100us);
                 ++ran;
                 return value;
               },
               {.concurrency = 1, .queue_limit = 5});
    client host = attach_to(w);
    std::stop_source stop;
    const std::stop_token token = stop.get_token();
    int good = 0, cancelled = 0;
    ASSERT_TRUE(host.call_async(
        on_lane, [&](auto&& r) { good += r.has_value(); }, 1));
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(host.call_async(
          on_lane, {.stop = stop}, [&](auto&& r) { cancelled += code_of(r) == errc::cancelled; },
          i));
    }
    EXPECT_TRUE(turn_until(w, host, [&] { return begun.load(); }));
    for (int i = 0; i < 100; ++i) (void)w.run_once();
    stop.request_stop();
    EXPECT_TRUE(turn_until(w, host, [&] { return cancelled == 3; }));
    for (int i = 0; i < 100; ++i) (void)w.run_once();
    go = true;
    EXPECT_TRUE(turn_until(w, host, [&] { return good == 1; }));
    EXPECT_EQ(ran, 1);
  });
}

TEST(call_life, lanes_may_answer_while_the_deadlines_of_other_calls_come_and_go) {
  // A call's deadline hangs in the loop's timers: threads that end calls must not touch those.
  worker w;
  w.function(on_lane, [](int value) { return value; }, {.concurrency = 4, .queue_limit = 1000});
  client host = attach_to(w);
  const serving_thread serving(w);
  int done = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(host.call_async(
          on_lane, {.timeout = std::chrono::seconds(5 + i % 7)},
          [&](auto&& r) { done += r.has_value(); }, i));
    }
    while (done < 50 * (round + 1)) ASSERT_TRUE(host.run_once(generous));
  }
}

TEST(call_life, a_cancelled_call_leaves_its_place_in_the_queue_of_a_coroutine) {
  worker w;
  manual_event go;
  int ran = 0;
  w.function(limited,
             [&](int value) -> task<int> {
               co_await go;
               ++ran;
               co_return value;
             },
             {.concurrency = 1, .queue_limit = 1});
  client host = attach_to(w);
  std::stop_source stop;
  const std::stop_token token = stop.get_token();
  int good = 0, cancelled = 0, other = 0;
  const auto note = [&](auto&& r) {
    r ? ++good : code_of(r) == errc::cancelled ? ++cancelled : ++other;
  };
  ASSERT_TRUE(host.call_async(limited, note, 1));
  ASSERT_TRUE(host.call_async(limited, {.stop = stop}, note, 2));
  for (int i = 0; i < 10; ++i) (void)w.run_once();
  stop.request_stop();
  EXPECT_TRUE(turn_until(w, host, [&] { return cancelled == 1; }));
  for (int i = 0; i < 10; ++i) (void)w.run_once();
  ASSERT_TRUE(host.call_async(limited, note, 3));
  for (int i = 0; i < 10; ++i) (void)w.run_once();
  w.loop().post([&] { go.set(); });
  EXPECT_TRUE(turn_until(w, host, [&] { return good + other == 2; }));
  EXPECT_EQ(good, 2);
  EXPECT_EQ(ran, 2);
}

TEST(call_life, a_host_that_goes_gives_its_places_in_a_limited_coroutine_to_others) {
  worker w;
  manual_event never;
  w.function(limited,
             [&](int value) -> task<int> {
               if (value == 0) co_await never;
               co_return value;
             },
             {.concurrency = 1, .queue_limit = 0});
  client second = [&] {
    bool ended = false;  // outlives the client, whose end completes the call
    client first = attach_to(w);
    EXPECT_TRUE(first.call_async(
        limited, [&](auto&&) { ended = true; }, 0));
    for (int i = 0; i < 10; ++i) (void)w.run_once();
    first.close();
    for (int i = 0; i < 10; ++i) (void)w.run_once();
    return attach_to(w);
  }();
  std::optional<errc> outcome;
  ASSERT_TRUE(second.call_async(
      limited, [&](auto&& r) { outcome = code_of(r); }, 1));
  EXPECT_TRUE(turn_until(w, second, [&] { return outcome.has_value(); }));
  EXPECT_EQ(*outcome, errc{});
}

TEST(call_life, a_function_on_a_lane_may_use_its_context_after_its_host_was_replaced) {
  worker w;
  std::atomic<bool> begun{false}, go{false}, done{false};
  w.function(on_lane,
             [&](context& call, int value) {
               begun = true;
               while (!go) std::this_thread::sleep_for(100us);
               (void)call.peer_pid();
               EXPECT_FALSE(call.borrow(10));
               EXPECT_TRUE(call.stop_requested());
               done = true;
               return value;
             },
             {.concurrency = 1});
  {
    client first = attach_to(w);
    ASSERT_TRUE(first.call_async(
        on_lane, [](auto&&) {}, 0));
    EXPECT_TRUE(turn_until(w, first, [&] { return begun.load(); }));
    first.close();
    for (int i = 0; i < 10; ++i) (void)w.run_once();
  }
  client second = attach_to(w);
  go = true;
  EXPECT_TRUE(turn_until(w, second, [&] { return done.load(); }));
}

TEST(call_life, a_function_may_replace_itself) {
  worker w;
  w.function(plain, [&w, text = std::string(1000, 'x')] {
    w.function(plain, [] { return 2; });
    return static_cast<int>(text.size());
  });
  client host = attach_to(w);
  std::vector<int> answers;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(host.call_async(
        plain, [&](result<int, call_error>&& r) { answers.push_back(r.value_or(-1)); }));
  }
  EXPECT_TRUE(turn_until(w, host, [&] { return answers.size() == 2; }));
  EXPECT_EQ(answers, (std::vector<int>{1000, 2}));
}

TEST(call_life, a_registration_that_comes_late_does_not_outlive_the_worker) {
  auto loop = loop::create();
  ASSERT_TRUE(loop);
  worker_options options;
  options.loop = *loop;
  {
    worker w(options);
    client host = attach_to(w);
    std::jthread([&] { w.function(plain, [] { return 1; }); }).join();
  }
  EXPECT_TRUE(loop->run_once());
}

TEST(call_life, a_callback_of_any_type_is_made_for_the_result_of_the_method_alone) {
  worker w;
  w.function(echo, [](int value) { return value; });
  client host = attach_to(w);
  int sum = 0;
  const auto add = [&](auto&& result) { sum += *result; };  // no such sum of bytes
  ASSERT_TRUE(host.call_async(echo, call_options{}, add, 3));
  ASSERT_TRUE(host.call_async(echo, add, 4));
  EXPECT_TRUE(turn_until(w, host, [&] { return sum == 7; }));
}

TEST(call_life, the_deadline_of_a_call_runs_while_its_worker_listens_inside_another) {
  const method<int()> inside{"inside"};
  const method<long()> left_ms{"left_ms"};
  worker w;
  std::atomic<bool> entered{false}, go_on{false};
  w.function(inside, [&](context& call) {
    entered = true;
    while (!go_on) (void)call.stop_requested();  // nothing else runs on the serving thread
    return 1;
  });
  w.function(left_ms, [](context& call) -> long {
    const auto left = call.deadline().value() - std::chrono::steady_clock::now();
    return std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
  });
  client host = attach_to(w);
  const serving_thread serving(w);
  ASSERT_TRUE(host.call_async(inside, [](auto&&) {}));
  while (!entered) std::this_thread::yield();
  long left = 0;
  ASSERT_TRUE(
      host.call_async(left_ms, {.timeout = generous}, [&](auto&& r) { left = r.value_or(-1); }));
  const auto waited = 500ms;
  std::this_thread::sleep_for(waited);
  go_on = true;
  while (host.stats().calls_in_flight != 0) ASSERT_TRUE(host.run_once(generous));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, (generous - waited + 50ms) / 1ms);
}

TEST(call_life, a_worker_tells_which_host_has_it_hold_what_and_since_when) {
  const method<body(std::span<const std::byte>)> large{"large"};
  manual_event gate;
  worker w;
  w.function(limited, [&](int value) -> task<int> {
    co_await gate;
    co_return value;
  });
  w.raw("large", [](context& call, body) {
    auto answer = call.borrow(100'000);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(call.reply(std::move(*answer)));
  });
  EXPECT_TRUE(w.holdings().empty());
  client first = attach_to(w), second = attach_to(w);
  int ended = 0;
  const auto note = [&](auto&&) { ++ended; };
  ASSERT_TRUE(first.call_async(limited, note, 1));
  body kept;
  ASSERT_TRUE(second.call_async(
      large, [&](auto&& r) { kept = std::move(*r); }, std::span<const std::byte>()));
  ASSERT_TRUE(turn_until(w, second, [&] { return kept.size() != 0; }));
  std::this_thread::sleep_for(30ms);
  const auto held = w.holdings();
  ASSERT_EQ(held.size(), 2u);
  ASSERT_EQ(held[0].calls.size(), 1u);
  EXPECT_EQ(held[0].calls[0].function, "limited");
  EXPECT_FALSE(held[0].calls[0].stream);
  EXPECT_GE(held[0].calls[0].age, 20ms);
  EXPECT_EQ(held[0].bodies.size(), 0u);
  EXPECT_EQ(held[0].pid, static_cast<std::uint32_t>(::getpid()));
  EXPECT_EQ(held[1].calls.size(), 0u);
  ASSERT_EQ(held[1].bodies.size(), 1u);
  EXPECT_GE(held[1].bodies[0].size_bytes, 100'000u);
  kept = {};
  w.loop().post([&] { gate.set(); });
  EXPECT_TRUE(turn_until(w, first, [&] {
    (void)second.run_once();
    return ended == 1 && w.holdings()[1].bodies.empty() && w.holdings()[0].calls.empty();
  }));
}

}  // namespace
}  // namespace ferry
