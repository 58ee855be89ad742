// Streams whose two sides go at different paces: time-outs, room, and who is kept waiting.
#include <atomic>
#include <semaphore>
#include <thread>

#include "tests/e2e/streams.h"
#include "tests/support/attached.h"
#include "worker/worker.h"

namespace ferry {
namespace {

inline const method<long(streamed<int>)> slow_sum{"slow_sum"};
inline const method<long(streamed<int>)> co_slow_sum{"co_slow_sum"};
inline const method<long(streamed<int>)> one_then_think{"one_then_think"};
inline const method<streamed<int>(int)> count{"count"};
inline const method<streamed<int>(streamed<int>)> talk{"talk"};
inline const method<streamed<int>(streamed<int>)> co_talk{"co_talk"};
inline const method<int(int)> next_of{"next_of"};
inline const method<int()> busy{"busy"};

constexpr auto idle = std::chrono::milliseconds(sanitized ? 2000 : 500);
constexpr int window = 4;

class stream_pace : public streams_test {
 protected:
  stream_pace() {
    function_options small;
    small.window.items = window;
    // Three limits pass before half of the window is read.
    w.function(
        slow_sum,
        [](stream<int>& in) {
          long total = 0;
          for (auto item = in.read(); item && *item; item = in.read()) {
            total += **item;
            std::this_thread::sleep_for(idle / 3);
          }
          return total;
        },
        small);
    w.function(
        co_slow_sum,
        [this](stream<int>& in) -> task<long> {
          long total = 0;
          for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
            total += **item;
            co_await w.loop().sleep_for(idle / 3);
          }
          co_return total;
        },
        small);
    w.function(
        one_then_think,
        [](context& call, stream<int>& in) {
          (void)in.read();
          for (int i = 0; i < 6; ++i) {
            std::this_thread::sleep_for(idle / 3);
            call.progress();
          }
          long total = 1;
          for (auto item = in.read(); item && *item; item = in.read()) ++total;
          return total;
        },
        small);
    w.function(count, [](int to, sink<int>& out) {
      for (int i = 0; i < to; ++i) {
        if (!out.write(i)) return;
      }
    });
    w.function(talk, [](stream<int>& in, sink<int>& out) {
      for (auto item = in.read(); item && *item; item = in.read()) {
        if (!out.write(**item)) return;
      }
    });
    w.function(co_talk, [](stream<int>& in, sink<int>& out) -> task<> {
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        if (!co_await out.send(**item)) co_return;
      }
    });
    w.function(next_of, [](int value) { return value + 1; });
    w.function(busy, [this](context& call) {
      began.release();
      while (!go_on && !call.stop_requested()) std::this_thread::yield();
      return 1;
    });
  }
  ~stream_pace() override { go_on = true; }

  std::atomic<bool> go_on{false};
  std::counting_semaphore<> began{0};
  worker w;
};

template <class Method>
void expect_sum_of_slow_reader(client& host, const Method& to) {
  auto up = host.upload(to, {.idle_timeout = idle});
  constexpr int items = 3 * window;
  for (int i = 1; i <= items; ++i) {
    const auto sent = up.write(i);
    ASSERT_TRUE(sent) << i << ": " << sent.error().message();
  }
  const auto sum = up.finish();
  ASSERT_TRUE(sum) << sum.error().message();
  EXPECT_EQ(*sum, items * (items + 1) / 2);
}

TEST_F(stream_pace, of_a_function_that_reads_steadily_is_no_time_out_of_its_writer) {
  client host = attach_to(w);
  const serving_thread serving(w);
  expect_sum_of_slow_reader(host, slow_sum);
  expect_sum_of_slow_reader(host, co_slow_sum);
}

TEST_F(stream_pace, of_a_function_that_reads_steadily_is_no_time_out_of_a_coroutine) {
  client host = attach_to(w);
  const serving_thread serving(w);
  const auto sum = host.run([](client& by) -> task<result<long, call_error>> {
    auto up = by.upload(slow_sum, {.idle_timeout = idle});
    for (int i = 1; i <= 2 * window; ++i) {
      if (auto sent = co_await up.send(i); !sent) co_return sent.error();
    }
    co_return co_await up.finished();
  }(host));
  ASSERT_TRUE(sum) << sum.error().message();
  EXPECT_EQ(*sum, window * (2 * window + 1));
}

TEST_F(stream_pace, of_a_function_that_tells_of_progress_is_no_time_out_of_its_writer) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto up = host.upload(one_then_think, {.idle_timeout = idle});
  for (int i = 0; i < 2 * window; ++i) {
    const auto sent = up.write(i);
    ASSERT_TRUE(sent) << i << ": " << sent.error().message();
  }
  EXPECT_EQ(up.finish().value_or(0), 2 * window);
}

TEST_F(stream_pace, of_one_does_not_hold_up_another_of_the_same_function) {
  client host = attach_to(w);
  const serving_thread serving(w);
  constexpr int items = 5'000;  // more than the windows of both
  auto one = host.server_stream(count, items), other = host.server_stream(count, items);
  for (int i = 0; i < items; ++i) {
    for (auto* each : {&one, &other}) {
      const auto item = each->read();
      ASSERT_TRUE(item) << i << ": " << item.error().message();
      ASSERT_TRUE(*item);
      ASSERT_EQ(**item, i);
    }
  }
  expect_end(one);
  expect_end(other);
}

TEST_F(stream_pace, of_a_host_that_does_not_read_holds_up_no_other_host) {
  client lazy = attach_to(w), other = attach_to(w);
  const serving_thread serving(w);
  auto unread = lazy.server_stream(count, 1'000'000);
  ASSERT_TRUE(unread.read());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(other.call(next_of, i).value_or(0), i + 1);
  auto theirs = other.server_stream(count, 100);
  const auto [all, why] = all_of(theirs);
  EXPECT_EQ(all.size(), 100u);
  EXPECT_FALSE(why);
}

TEST_F(stream_pace, that_begin_while_a_function_listens_lose_nothing) {
  client host = attach_to(w);
  const serving_thread serving(w);
  ASSERT_TRUE(host.call_async(busy, [](auto&&) {}));
  began.acquire();
  auto items = host.server_stream(count, 3'000);
  const auto [all, why] = all_of(items);
  EXPECT_EQ(all.size(), 3'000u);
  EXPECT_FALSE(why) << why->message();
  for (const auto* each : {&talk, &co_talk}) {
    auto both = host.open(*each);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(both.write(i));
    both.close_send();
    const auto [echoed, failed] = all_of(both.responses());
    EXPECT_EQ(echoed.size(), 10u);
    EXPECT_FALSE(failed) << failed->message();
  }
  go_on = true;
}

TEST_F(stream_pace, on_the_serving_thread_puts_off_others_there_and_loses_nothing_of_them) {
  static const method<int(streamed<int>)> first_of{"first_of"};
  static const method<int(streamed<int>)> sum_there{"sum_there"};
  worker here;
  function_options there;
  there.on_serving_thread = true;
  const auto serving_id = std::make_shared<std::atomic<std::thread::id>>();
  here.function(
      first_of,
      [=](stream<int>& in) {
        *serving_id = std::this_thread::get_id();
        const auto item = in.read();
        return item && *item ? **item : -1;
      },
      there);
  here.function(
      sum_there,
      [=](stream<int>& in) {
        if (*serving_id != std::this_thread::get_id()) return -1;
        int total = 0;
        for (auto item = in.read(); item && *item; item = in.read()) total += **item;
        return total;
      },
      there);
  here.function(next_of, [](int value) { return value + 1; });
  here.function(count, [](int to, sink<int>& out) -> task<> {
    for (int i = 0; i < to; ++i) {
      if (!co_await out.send(i)) co_return;
    }
  });
  client host = attach_to(here), other = attach_to(here);
  const serving_thread serving(here);
  auto waits = host.upload(first_of);
  ASSERT_TRUE(eventually([&] { return *serving_id != std::thread::id(); }));
  // Put off, with its items; what is no function of that thread goes on.
  auto late = other.upload(sum_there);
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(late.write(i));
  std::optional<int> next;
  ASSERT_TRUE(other.call_async(
      next_of, [&](auto&& r) { next = r.value_or(-1); }, 1));
  auto items = other.server_stream(count, 3'000);
  const auto [all, why] = all_of(items);
  EXPECT_EQ(all.size(), 3'000u);
  EXPECT_FALSE(why) << why->message();
  EXPECT_FALSE(next);
  ASSERT_TRUE(waits.write(7));
  EXPECT_EQ(waits.finish().value_or(0), 7);
  EXPECT_EQ(late.finish().value_or(0), 55);
  EXPECT_TRUE(drive(other, [&] { return next.has_value(); }));
  EXPECT_EQ(next, 2);
}

// --- room in the ring ---------------------------------------------------------------------------

struct full_ring : stream_pace {
  full_ring() {
    w.function(co_read, [](stream<std::string>& in) -> task<int> {
      int read = 0;
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) ++read;
      co_return read;
    });
    options.session.ring_bytes = 4096;
    options.session.inline_limit = 512;
  }
  static inline const method<int(streamed<std::string>)> co_read{"co_read"};
  client_options options;
};

// Sends until it fails; the worker reads nothing meanwhile.
task<call_error> send_until_told(upload<std::string, int>& up) {
  for (;;) {
    if (auto sent = co_await up.send(std::string(400, 'x')); !sent) co_return sent.error();
  }
}

TEST_F(full_ring, wait_for_which_ends_with_the_call) {
  client host = attach_to(w, options);
  auto up = host.upload(co_read, {.timeout = 100ms, .idle_timeout = 1h});
  const auto why = host.run(send_until_told(up));
  EXPECT_EQ(why.code, errc::timeout) << why.message();
  EXPECT_EQ(code_of(up.finish()), errc::timeout);
}

TEST_F(full_ring, wait_for_which_ends_when_it_is_stopped) {
  client host = attach_to(w, options);
  std::stop_source stop;
  auto up = host.upload(co_read, {.idle_timeout = 1h, .stop = stop});
  loop driven = host.loop();
  std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  });
  EXPECT_EQ(host.run(send_until_told(up)).code, errc::cancelled);
}

TEST_F(full_ring, wait_for_which_ends_with_the_client) {
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  options.loop = *shared;
  std::optional<client> host = attach_to(w, options);
  auto up = host->upload(co_read, {.idle_timeout = 1h});
  std::optional<call_error> why;
  auto sending = [](upload<std::string, int>& to, std::optional<call_error>& told) -> task<> {
    told = co_await send_until_told(to);
  };
  const spawned running = ferry::start(sending(up, why));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(shared->run_once(5ms));
  EXPECT_FALSE(why);
  host.reset();
  for (int i = 0; i < 10 && !why; ++i) ASSERT_TRUE(shared->run_once(5ms));
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, errc::closed) << why->message();
}

TEST_F(full_ring, wait_for_which_ends_as_unavailable_when_the_worker_is_gone) {
  std::optional<worker> mortal;
  mortal.emplace();
  mortal->function(co_read, [](stream<std::string>&) -> task<int> { co_return 0; });
  client host = attach_to(*mortal, options);
  auto up = host.upload(co_read, {.idle_timeout = 1h});
  std::jthread reaper([&] {
    std::this_thread::sleep_for(100ms);
    mortal.reset();
  });
  EXPECT_EQ(host.run(send_until_told(up)).code, errc::unavailable);
}

// --- limits -------------------------------------------------------------------------------------

TEST_F(stream_pace, without_a_limit_of_the_window_is_pace_like_any) {
  client host = attach_to(w);
  const serving_thread serving(w);
  call_options all;
  all.window = {~0u, ~std::uint64_t{0}};
  auto items = host.server_stream(count, all, 3'000);
  const auto [got, why] = all_of(items);
  EXPECT_EQ(got.size(), 3'000u);
  EXPECT_FALSE(why) << why->message();
  EXPECT_EQ(host.call(next_of, 1).value_or(0), 2);  // the session lives
}

TEST_F(stream_pace, of_nothing_is_refused) {
  client host = attach_to(w);
  const serving_thread serving(w);
  for (const auto none : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    auto items = host.server_stream(count, {.idle_timeout = none}, 1);
    EXPECT_EQ(code_of(items.read()), errc::invalid_request);
    expect_end(items);
    auto good = host.server_stream(count, 1);
    EXPECT_EQ(code_of(good.set_idle_timeout(none)), errc::invalid_request);
    EXPECT_TRUE(good.read());
  }
  for (const stream_window none : {stream_window{0, 1}, stream_window{1, 0}}) {
    call_options nothing;
    nothing.window = none;
    auto items = host.server_stream(count, nothing, 1);
    EXPECT_EQ(code_of(items.read()), errc::invalid_request);
  }
}

}  // namespace
}  // namespace ferry
