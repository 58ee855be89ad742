// How a call failed: whether it has run, which is what a caller who may try again goes by, and what
// its function had to say.
#include <atomic>
#include <semaphore>
#include <thread>

#include "tests/e2e/e2e.h"
#include "tests/support/attached.h"
#include "worker/worker.h"

namespace ferry {
namespace {

inline const method<int(int)> held{"held"};
inline const method<int(int)> co_held{"co_held"};
inline const method<int(int)> count{"count"};
inline const method<int(std::string)> count_wrongly{"count"};
inline const method<streamed<int>(int)> count_as_stream{"count"};
inline const method<int(int)> unknown{"unknown"};
inline const method<int()> turned_down{"turned_down"};
inline const method<int(int)> blocks{"blocks"};
inline const method<long()> left_ms{"left_ms"};
inline const method<int(int), std::string> long_story{"long_story"};
inline const method<int(int), std::string> passed_on{"passed_on"};
inline const method<int(int), std::string> deferred_story{"deferred_story"};

class calls_begun : public e2e {
 protected:
  calls_begun() {
    function_options one;
    one.concurrency = 1;
    one.queue_limit = 0;
    const auto hold = [this](int value) {
      began.release();
      while (!go_on) std::this_thread::sleep_for(1ms);
      return value;
    };
    w.function(held, hold, one);
    w.function(
        co_held,
        [this](int value) -> task<int> {
          began.release();
          while (!go_on) co_await w.loop().sleep_for(1ms);
          co_return value;
        },
        one);
    w.function(count, [this](int value) {
      ++counted;
      return value;
    });
    w.raw("turned_down",
          [](context& call, body) { (void)call.reject(errc::overloaded, "come back later"); });
    w.function(blocks, [this](int ms) {
      began.release();
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      return ms;
    });
    w.function(left_ms, [this](context& call) -> long {
      ++counted;
      const auto left = call.deadline().value() - std::chrono::steady_clock::now();
      return std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
    });
    w.function(long_story, [](int size) -> result<int, std::string> {
      return std::string(static_cast<std::size_t>(size), 's');
    });
    w.function(passed_on, [this](int size) -> result<int, typed_error<std::string>> {
      return backend->call(long_story, size);
    });
    w.raw("deferred_story", [](context& call, body) {
      (void)call.defer().fail_with(errc::execution_failed, "later", std::string("told later"));
    });
  }
  ~calls_begun() override { go_on = true; }

  std::atomic<bool> go_on{false};
  std::atomic<int> counted{0};
  std::counting_semaphore<> began{0};
  std::optional<client> backend;
  worker w;
};

template <class T>
void expect_not_begun(const result<T, call_error>& outcome, errc code) {
  EXPECT_EQ(code_of(outcome), code);
  EXPECT_FALSE(outcome.error().maybe_executed) << outcome.error().message();
}

TEST_F(calls_begun, is_said_of_none_that_was_refused_before) {
  client host = attach_to(w);
  const serving_thread serving(w);
  expect_not_begun(host.call(unknown, 1), errc::function_not_found);
  expect_not_begun(host.call(count_wrongly, "text"), errc::invalid_params);
  auto items = host.server_stream(count_as_stream, 1);
  expect_not_begun(items.read(), errc::invalid_request);
  expect_not_begun(host.call(turned_down), errc::overloaded);
  for (const auto* limited : {&held, &co_held}) {
    go_on = false;
    std::optional<result<int, call_error>> first;
    ASSERT_TRUE(host.call_async(
        *limited, [&](auto&& outcome) { first.emplace(std::move(outcome)); }, 1));
    began.acquire();
    expect_not_begun(host.call(*limited, 2), errc::overloaded);
    go_on = true;
    EXPECT_TRUE(drive(host, [&] { return first.has_value(); }));
    EXPECT_TRUE(first && *first);
  }
  EXPECT_EQ(counted, 0);
  EXPECT_TRUE(host.call(count, 1));
}

TEST_F(calls_begun, is_true_of_none_whose_time_was_over_in_the_ring) {
  client host = attach_to(w);
  const serving_thread serving(w);
  ASSERT_TRUE(host.call_async(
      blocks, [](auto&&) {}, 400));
  began.acquire();
  std::optional<errc> outcome;
  ASSERT_TRUE(host.call_async(left_ms, {.timeout = 150ms},
                              [&](auto&& answer) { outcome = code_of(answer); }));
  EXPECT_TRUE(drive(host, [&] { return outcome.has_value(); }));
  EXPECT_EQ(outcome, errc::timeout);
  EXPECT_EQ(host.call(count, 1).value_or(0), 1);  // behind it in the ring
  EXPECT_EQ(counted, 1);
}

TEST_F(calls_begun, late_leaves_the_function_what_is_left) {
  client host = attach_to(w);
  const serving_thread serving(w);
  ASSERT_TRUE(host.call_async(
      blocks, [](auto&&) {}, 300));
  began.acquire();
  std::optional<long> left;
  ASSERT_TRUE(host.call_async(left_ms, {.timeout = 5s},
                              [&](auto&& answer) { left = answer.value_or(-1); }));
  EXPECT_TRUE(drive(host, [&] { return left.has_value(); }));
  EXPECT_GT(*left, 0);
  EXPECT_LE(*left, 4'900);  // it has waited for most of the 300 ms
}

// Each asks whether it should stop, and so lets those behind it begin.
TEST_F(calls_begun, in_coroutines_that_ask_to_stop_do_not_pile_up_on_the_stack) {
  static const method<int(int)> asks{"asks"};
  w.function(asks, [](context& call, int value) -> task<int> {
    if (call.stop_requested()) co_return -1;
    co_return value;
  });
  client_options many;
  many.max_calls = 4'000;
  client host = attach_to(w, many);
  constexpr int calls = 3'000;
  int good = 0, ended = 0;
  for (int i = 0; i < calls; ++i) {  // all lie in the ring before the first is served
    ASSERT_TRUE(host.call_async(
        asks,
        [&, i](auto&& answer) {
          good += answer.value_or(-1) == i;
          ++ended;
        },
        i));
  }
  const serving_thread serving(w);
  EXPECT_TRUE(drive(host, [&] { return ended == calls; }));
  EXPECT_EQ(good, calls);
}

TEST_F(calls_begun, errors_of_any_size_reach_the_caller_also_through_another_worker) {
  worker further;
  further.function(long_story, [](int size) -> result<int, std::string> {
    return std::string(static_cast<std::size_t>(size), 's');
  });
  backend.emplace(attach_to(further));
  client host = attach_to(w);
  const serving_thread serving(w), serving_further(further);
  for (const int size : {10, 1'000, 3'000, 100'000}) {
    for (const auto* each : {&long_story, &passed_on}) {
      const auto outcome = host.call(*each, size);
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().code, errc::execution_failed);
      ASSERT_TRUE(outcome.error().detail) << size << outcome.error().message();
      EXPECT_EQ(outcome.error().detail->size(), static_cast<std::size_t>(size));
    }
  }
  const auto later = host.call(deferred_story, 1);
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().detail, "told later");
}

}  // namespace
}  // namespace ferry
