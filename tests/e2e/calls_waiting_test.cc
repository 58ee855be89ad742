// Calls that wait for room: what wakes them, for how long they may, and who must not. The worker
// lives in this process and serves when the test says so.
#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "tests/e2e/e2e.h"
#include "tests/e2e/tiny_ring.h"
#include "tests/support/attached.h"

namespace ferry {
namespace {

inline const method<int(int)> hold{"hold"};
inline const method<int(int)> fresh{"fresh"};
inline const method<int(streamed<int>)> sum{"sum"};

constexpr auto in_time = 20s;  // a loaded machine is not a hang

// Holds what it is asked and answers nothing.
struct silent_worker {
  std::vector<responder> held;
  std::atomic<std::size_t> taken{0};
  std::mutex mutex;
  std::optional<steady::time_point> deadline;  // of the last call, as its function saw it
  worker w;

  silent_worker() {
    for (const auto* name : {"hold", "fresh"}) {
      w.raw(name, [this](context& call, body) {
        held.push_back(call.defer());
        const std::lock_guard guard(mutex);
        deadline = call.deadline();
        ++taken;
      });
    }
    w.function(sum, [](stream<int>& in) -> task<int> {
      int total = 0;
      for (auto item = co_await in.next(); item && *item; item = co_await in.next())
        total += **item;
      co_return total;
    });
  }
  template <class Done>
  bool serve_until(Done done) {
    const auto limit = steady::now() + in_time;
    while (!done() && steady::now() < limit) (void)w.run_once(5ms);
    return done();
  }
};

client_options on_a_loop(client_options options) {
  auto made = loop::create();
  EXPECT_TRUE(made);
  options.loop = *made;
  return options;
}

// Of a call that waits for room until it is cancelled.
errc outcome_of_waiting(client& host, const std::stop_source& stop) {
  return code_of(host.call(hold, {.timeout = std::chrono::nanoseconds::max(), .stop = stop}, 1));
}

// Calls until there is no room; how many.
std::size_t fill(client& host) {
  std::size_t sent = 0;
  call_options at_once;
  at_once.wait_for_room = false;
  while (host.call_async(
      hold, at_once, [](auto&&) {}, 1)) {
    ++sent;
  }
  return sent;
}

class calls_waiting : public e2e {
 protected:
  // A call of `brief` meets a full ring; the worker begins to read late and never answers.
  template <class Method>
  void expect_one_time_for_all(const Method& to) {
    silent_worker silent;
    client host = attach_to(silent.w, tiny_ring());
    const std::size_t before = fill(host);
    const auto began = steady::now();
    std::jthread late([&](std::stop_token stop) {
      std::this_thread::sleep_until(began + most_of_it);
      while (!stop.stop_requested()) (void)silent.w.run_once(5ms);
    });
    expect_one_time(host, to, silent, before + 1);
  }
  // It waits for room, is sent as number `taken`, and ends in time; the function knows when.
  template <class Method>
  static void expect_one_time(client& host, const Method& to, silent_worker& silent,
                              std::size_t taken) {
    const auto began = steady::now();
    const auto outcome = host.call(to, {.timeout = brief}, 1);
    EXPECT_EQ(code_of(outcome), errc::timeout);
    EXPECT_GE(steady::now() - began, brief);
    EXPECT_LT(steady::now() - began, less_than_both);
    if (!outcome.error().maybe_executed) return;  // so busy a machine that room came too late
    ASSERT_TRUE(eventually([&] { return silent.taken == taken; }));
    const std::lock_guard guard(silent.mutex);
    ASSERT_TRUE(silent.deadline);
    EXPECT_LT(*silent.deadline - began, less_than_both);
  }
  static constexpr auto brief = 2500ms;
  static constexpr auto most_of_it = 1500ms;      // until there is room
  static constexpr auto less_than_both = 3700ms;  // who waits twice takes 4 s at least
};

TEST_F(calls_waiting, for_room_are_woken_by_room_alone_also_on_a_loop_of_several_clients) {
  silent_worker silent, other;
  const client_options options = on_a_loop(tiny_ring());
  client host = attach_to(silent.w, options), neighbour = attach_to(other.w, options);
  const std::size_t before = fill(host);
  std::stop_source stop;
  auto outcome = std::async(std::launch::async, [&] { return outcome_of_waiting(host, stop); });
  EXPECT_EQ(outcome.wait_for(200ms), std::future_status::timeout);  // fast asleep by now
  EXPECT_TRUE(silent.serve_until([&] { return silent.taken == before + 1; }));
  stop.request_stop();
  EXPECT_EQ(outcome.get(), errc::cancelled);
}

TEST_F(calls_waiting, for_room_serve_what_is_due_on_their_loop) {
  silent_worker silent, other;
  const client_options options = on_a_loop(tiny_ring());
  client host = attach_to(silent.w, options), neighbour = attach_to(other.w, options);
  fill(host);
  std::stop_source stop;
  auto outcome = std::async(std::launch::async, [&] { return outcome_of_waiting(host, stop); });
  EXPECT_EQ(outcome.wait_for(100ms), std::future_status::timeout);
  std::atomic<bool> ended{false}, slept{false};
  EXPECT_TRUE(neighbour.call_async(
      hold, {.timeout = 50ms}, [&](auto&& r) { ended = code_of(r) == errc::timeout; }, 1));
  spawned sleeper;
  loop shared = *options.loop;
  shared.post([&] {
    sleeper = ferry::start([](loop on, std::atomic<bool>& done) -> task<> {
      co_await on.sleep_for(50ms);
      done = true;
    }(shared, slept));
  });
  EXPECT_TRUE(eventually([&] { return ended && slept; }, in_time));
  stop.request_stop();
  EXPECT_EQ(outcome.get(), errc::cancelled);
}

TEST_F(calls_waiting, for_room_take_the_wait_from_their_own_time) { expect_one_time_for_all(hold); }

TEST_F(calls_waiting, to_tell_a_new_name_take_the_wait_from_their_own_time) {
  expect_one_time_for_all(fresh);
}

TEST_F(calls_waiting, for_a_place_among_the_calls_take_the_wait_from_their_own_time) {
  silent_worker silent;
  client_options options;
  options.max_calls = 1;
  client host = attach_to(silent.w, options);
  const serving_thread serving(silent.w);
  ASSERT_TRUE(host.call_async(
      hold, {.timeout = most_of_it}, [](auto&&) {}, 1));
  expect_one_time(host, hold, silent, 2);
}

TEST_F(calls_waiting, for_room_is_refused_to_a_callback_that_writes_to_a_stream) {
  silent_worker silent;
  client host = attach_to(silent.w, tiny_ring());
  auto upload = host.upload(sum);
  fill(host);
  errc inside{};
  host.loop().post([&] { inside = code_of(upload.write(1)); });
  EXPECT_TRUE(host.run_once());
  EXPECT_EQ(inside, errc::invalid_request);
  // Nothing of it was sent, and the stream goes on.
  const serving_thread serving(silent.w);
  EXPECT_TRUE(upload.write(2));
  EXPECT_EQ(upload.finish().value_or(0), 2);
}

}  // namespace
}  // namespace ferry
