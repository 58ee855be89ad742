// Calls by descriptor while the ring to the worker is full.
#include "tests/unit/worker/one_process.h"

namespace ferry {
namespace {

inline const method<int(int)> known{"known"};
inline const method<int(int)> fresh{"fresh"};
inline const method<int(int)> other{"other"};
inline const method<streamed<int>(int)> fresh_stream{"fresh_stream"};

client_options small_ring() {
  client_options options;
  options.session.ring_bytes = 4096;
  options.session.inline_limit = 512;
  return options;
}

struct full_ring {
  worker w;
  client host;
  std::function<void()> at_end = [] {};

  full_ring() : host((add(w), attach_to(w, small_ring()))) {
    call_options at_once;
    at_once.wait_for_room = false;
    const auto note = [this](auto&&) { at_end(); };
    while (host.call_async(known, at_once, note, 1)) {
    }
  }
  static void add(worker& w) {
    w.function(known, [](int value) { return value; });
    w.function(fresh, [](int value) { return 2 * value; });
  }
};

TEST(call_room, a_name_is_not_waited_for_by_who_does_not_wait) {
  full_ring full;
  call_options at_once;
  at_once.wait_for_room = false;
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(full.host.call_async(
                fresh, at_once, [](auto&&) {}, 1)),
            errc::overloaded);
  auto items = full.host.server_stream(fresh_stream, at_once, 1);
  EXPECT_EQ(code_of(items.read()), errc::overloaded);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);  // not the 30 s of a call
}

TEST(call_room, a_name_is_waited_for_no_longer_than_the_call_may_take) {
  full_ring full;
  const auto outcome = full.host.call(fresh, {.timeout = 50ms}, 1);
  EXPECT_FALSE(outcome);
  EXPECT_EQ(full.host.stats().streams_open, 0u);
}

TEST(call_room, a_callback_may_use_a_new_name_while_another_call_waits_to_tell_its_own) {
  full_ring full;
  int inside = 0;
  full.at_end = [&] {
    // Whether there is room for it is another matter.
    if (full.host.call_async(
            other, [&](auto&&) { --inside; }, 1))
      ++inside;
  };
  const serving_thread serving(full.w);
  const auto outcome = full.host.call(fresh, 1);
  ASSERT_TRUE(outcome) << outcome.error().message();
  EXPECT_EQ(*outcome, 2);
  while (full.host.stats().calls_in_flight != 0) ASSERT_TRUE(full.host.run_once(generous));
  EXPECT_EQ(inside, 0);
}

TEST(call_room, who_waits_for_it_may_be_told_to_stop) {
  for (const bool by_name : {false, true}) {
    full_ring full;  // and nobody serves the worker
    std::stop_source stop;
    std::thread later([&] {
      std::this_thread::sleep_for(50ms);
      stop.request_stop();
    });
    call_options options{.timeout = std::chrono::nanoseconds::max(), .stop = stop};
    const auto outcome = full.host.call(by_name ? fresh : known, options, 1);
    later.join();
    EXPECT_EQ(code_of(outcome), errc::cancelled);
    EXPECT_FALSE(!outcome && outcome.error().maybe_executed);
  }
}

TEST(call_room, who_waits_for_a_place_among_the_calls_may_be_told_to_stop) {
  worker w;
  full_ring::add(w);
  client_options options;
  options.max_calls = 1;
  client host = attach_to(w, options);
  ASSERT_TRUE(host.call_async(
      known, [](auto&&) {}, 1));
  std::stop_source stop;
  std::thread later([&] {
    std::this_thread::sleep_for(50ms);
    stop.request_stop();
  });
  const auto outcome =
      host.call(known, {.timeout = std::chrono::nanoseconds::max(), .stop = stop}, 1);
  later.join();
  EXPECT_EQ(code_of(outcome), errc::cancelled);
}

TEST(call_room, names_beyond_the_limit_are_refused_and_the_session_goes_on) {
  worker w;
  full_ring::add(w);
  client host = attach_to(w);
  const serving_thread serving(w);
  bool refused = false;
  for (int i = 0; i < 5000 && !refused; ++i) {
    const std::string name = "name " + std::to_string(i);
    auto items = host.server_stream(name, std::span<const std::byte>());
    const auto first = items.read();
    ASSERT_FALSE(first);
    refused = first.error().code == errc::overloaded;
    ASSERT_TRUE(refused || first.error().code == errc::function_not_found);
  }
  EXPECT_TRUE(refused);
  EXPECT_TRUE(host.connected());
  EXPECT_EQ(host.invoke<int>("known", 3).value_or(0), 3);
}

TEST(call_room, who_gets_it_first_may_end_another_who_waits_too) {
  const method<int(streamed<int>)> sum{"sum"};
  worker w;
  w.function(known, [](int value) { return value; });
  w.function(sum, [](stream<int>& in) -> task<int> {
    int total = 0;
    for (auto item = co_await in.next(); item && *item; item = co_await in.next()) total += **item;
    co_return total;
  });
  client host = attach_to(w, small_ring());
  auto first = host.upload(sum), second = host.upload(sum);
  call_options at_once;
  at_once.wait_for_room = false;
  while (host.call_async(
      known, at_once, [](auto&&) {}, 1)) {
  }
  spawned rival;
  int sent = 0;
  const auto send = [](ferry::upload<int, int>& to, spawned* ends, int& count) -> task<> {
    const auto done = co_await to.send(1);
    if (ends != nullptr) *ends = {};
    count += done ? 1 : 0;
  };
  spawned one;
  host.loop().post([&] {
    one = start(send(first, &rival, sent));
    rival = start(send(second, nullptr, sent));
  });
  (void)host.run_once();  // now both wait
  ASSERT_EQ(sent, 0);
  EXPECT_TRUE(turn_until(w, host, [&] { return sent != 0 && host.stats().calls_in_flight == 2; }));
  EXPECT_EQ(sent, 1);
}

}  // namespace
}  // namespace ferry
