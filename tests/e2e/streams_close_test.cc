// Halves of streams that are closed, cancelled or dropped: who hears of it, and what goes on.
#include <atomic>
#include <optional>
#include <thread>

#include "tests/e2e/streams.h"
#include "tests/support/attached.h"
#include "worker/worker.h"

namespace ferry {
namespace {

inline const method<streamed<int>(streamed<int>)> close_then_read{"close_then_read"};
inline const method<streamed<int>(streamed<int>)> co_close_then_read{"co_close_then_read"};
inline const method<streamed<int>(int)> close_then_fail{"close_then_fail"};
inline const method<int()> read_after_close{"read_after_close"};
inline const method<streamed<int>(streamed<int>)> deaf{"deaf"};
inline const method<streamed<int>()> endless{"endless"};
inline const method<streamed<int>(streamed<int>)> stuck{"stuck"};
inline const method<int(streamed<int>)> fails_full{"fails_full"};
inline const method<int(streamed<int>)> sum{"sum"};

class stream_close : public streams_test {
 protected:
  stream_close() {
    w.function(close_then_read, [this](stream<int>& in, sink<int>& out) {
      (void)out.write(1);
      out.close();
      for (auto item = in.read(); item && *item; item = in.read()) read += **item;
      ended = true;
    });
    w.function(co_close_then_read, [this](stream<int>& in, sink<int>& out) -> task<> {
      (void)co_await out.send(1);
      out.close();
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        read += **item;
      }
      ended = true;
    });
    w.function(close_then_fail, [](int, sink<int>& out) -> result<void, call_error> {
      (void)out.write(1);
      out.close();
      return call_error{errc::execution_failed, "too late to tell", false};
    });
    w.function(read_after_close, [this] { return read.load(); });
    w.function(deaf, [this](context& call, stream<int>& in, sink<int>& out) {
      in.cancel();
      const auto told = in.read();
      own_cancel = told ? errc{} : told.error().code;
      (void)out.write(7);
      while (!call.stop_requested() && !release) std::this_thread::sleep_for(1ms);
    });
    w.function(endless, [](sink<int>& out) {
      for (int i = 0; out.write(i); ++i) {
      }
    });
    w.function(stuck, [this](context& call, stream<int>&, sink<int>&) {
      while (!call.stop_requested() && !release) std::this_thread::sleep_for(1ms);
    });
    w.function(fails_full, [](stream<int>&) -> result<int, error> {
      return error{errc::full, 0, "my queue is full"};
    });
    w.function(sum, [](stream<int>& in) {
      int total = 0;
      for (auto item = in.read(); item && *item; item = in.read()) total += **item;
      return total;
    });
  }
  ~stream_close() override { release = true; }

  std::atomic<int> read{0};
  std::atomic<bool> ended{false}, release{false};
  std::atomic<errc> own_cancel{};
  worker w;
};

TEST_F(stream_close, of_a_function_ends_its_items_and_not_the_call) {
  client host = attach_to(w);
  const serving_thread serving(w);
  for (const auto* each : {&close_then_read, &co_close_then_read}) {
    read = 0;
    ended = false;
    auto both = host.open(*each);
    EXPECT_EQ(both.responses().read().value_or(0).value_or(0), 1);
    expect_end(both.responses());
    for (int i = 1; i <= 3; ++i) {
      const auto sent = both.write(i);
      ASSERT_TRUE(sent) << sent.error().message();
    }
    EXPECT_FALSE(ended);
    EXPECT_EQ(host.stats().calls_in_flight, 1u);
    both.close_send();
    EXPECT_TRUE(eventually([&] { return ended.load(); }));
    EXPECT_EQ(read, 6);
    expect_nothing_left(host);
    EXPECT_EQ(host.stats().stale_answers, 0u);
  }
}

TEST_F(stream_close, of_a_function_stands_whatever_it_answers_later) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto items = host.server_stream(close_then_fail, 1);
  EXPECT_TRUE(items.read());
  expect_end(items);
  expect_nothing_left(host);
  EXPECT_EQ(host.stats().stale_answers, 0u);
}

TEST_F(stream_close, of_what_a_function_reads_is_told_to_who_writes) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto both = host.open(deaf);
  EXPECT_EQ(both.responses().read().value_or(0).value_or(0), 7);
  result<void, call_error> sent;
  for (int i = 0; i < 100'000 && sent; ++i) sent = both.write(i);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, errc::closed) << sent.error().message();
  EXPECT_EQ(own_cancel, errc::cancelled);
  release = true;
  expect_end(both.responses());
}

TEST_F(stream_close, by_cancel_is_cancelled_once_and_then_the_end) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto blocking = host.server_stream(endless);
  ASSERT_TRUE(blocking.read());
  blocking.cancel();
  blocking.cancel();
  EXPECT_EQ(code_of(blocking.read()), errc::cancelled);
  expect_end(blocking);

  const auto codes = host.run([](client& by) -> task<std::vector<errc>> {
    std::vector<errc> told;
    const auto note = [&](const auto& next) {
      told.push_back(!next ? next.error().code : *next ? errc{} : errc::closed);
    };
    auto items = by.server_stream(endless);
    note(co_await items.next());
    items.cancel();
    note(co_await items.next());
    note(co_await items.next());
    auto both = by.open(stuck);
    both.abort();
    note(co_await both.responses().next());
    note(co_await both.responses().next());
    stream<int> none;
    note(co_await none.next());
    co_return told;
  }(host));
  EXPECT_EQ(codes, (std::vector{errc{}, errc::cancelled, errc::closed, errc::cancelled,
                                errc::closed, errc::closed}));
  expect_nothing_left(host);
}

TEST_F(stream_close, after_the_end_was_read_is_nothing_new) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto items = host.server_stream(close_then_fail, 1);
  EXPECT_TRUE(items.read());
  EXPECT_FALSE(items.read().value());
  items.cancel();
  expect_end(items);
}

TEST_F(stream_close, of_an_upload_is_told_by_its_finish) {
  static const method<int(streamed<int>)> asleep{"asleep"};
  w.function(asleep, [this](context& call, stream<int>&) {
    while (!call.stop_requested() && !release) std::this_thread::sleep_for(1ms);
    return 0;
  });
  client host = attach_to(w);
  const serving_thread serving(w);
  auto aborted = host.upload(sum);
  aborted.abort();
  EXPECT_EQ(code_of(aborted.finish()), errc::cancelled);
  auto awaited = host.upload(sum);
  awaited.abort();
  EXPECT_EQ(code_of(host.run([](upload<int, int>& of) -> task<result<int, call_error>> {
              co_return co_await of.finished();
            }(awaited))),
            errc::cancelled);
  auto idle = host.upload(asleep, {.idle_timeout = 50ms});
  result<void, call_error> sent;
  while (sent) sent = idle.write(1);
  EXPECT_EQ(sent.error().code, errc::timeout);
  EXPECT_EQ(code_of(idle.finish()), errc::timeout);
}

TEST_F(stream_close, by_a_failure_with_any_code_is_an_end_for_who_writes) {
  client host = attach_to(w);
  const serving_thread serving(w);
  auto up = host.upload(fails_full);
  result<void, call_error> sent;
  while (sent) sent = up.write(1);
  EXPECT_EQ(sent.error().code, errc::full);
  int item = 1;
  EXPECT_EQ(code_of(up.try_send(item)), errc::full);
  EXPECT_EQ(code_of(host.run([](client& by) -> task<result<void, call_error>> {
              auto other = by.upload(fails_full);
              for (;;) {
                if (auto told = co_await other.send(1); !told) co_return told;
              }
            }(host))),
            errc::full);
}

// The writer hears of the idle end first, and ends the reader.
TEST_F(stream_close, by_idleness_survives_that_one_half_destroys_the_other) {
  client host = attach_to(w);
  const serving_thread serving(w);
  for (int round = 0; round < 3; ++round) {
    auto both = std::make_unique<bidi<int, int>>(host.open(stuck, {.idle_timeout = 50ms}));
    spawned reader;
    bool wrote = false;
    const auto reading = [](bidi<int, int>& from) -> task<> {
      while (auto next = co_await from.responses().next()) {
        if (!*next) break;
      }
    };
    const auto writing = [](std::unique_ptr<bidi<int, int>>& to, spawned& other,
                            bool& done) -> task<> {
      while (co_await to->send(1)) {
      }
      other = {};
      to.reset();
      done = true;
    };
    reader = ferry::start(reading(*both));
    const spawned writer = ferry::start(writing(both, reader, wrote));
    EXPECT_TRUE(drive(host, [&] { return wrote; }));
    EXPECT_FALSE(both);
  }
}

TEST_F(stream_close, items_are_sent_as_the_stream_declares_them) {
  static const method<std::string(streamed<double>)> doubles{"doubles"};
  w.function(doubles, [](stream<double>& in) {
    double total = 0;
    for (auto item = in.read(); item && *item; item = in.read()) total += **item;
    return std::to_string(total);
  });
  client host = attach_to(w);
  const serving_thread serving(w);
  auto up = host.upload(sum);
  short two = 2;
  ASSERT_TRUE(up.try_send(two).value_or(false));
  ASSERT_TRUE(up.write(short{3}));
  EXPECT_EQ(up.finish().value_or(0), 5);
  auto fractions = host.upload(doubles);
  ASSERT_TRUE(fractions.try_send(two).value_or(false));  // no integer, which would not decode
  ASSERT_TRUE(fractions.write(0.5));
  EXPECT_EQ(fractions.finish().value_or(""), "2.500000");
}

TEST_F(stream_close, errors_of_single_items_come_from_coroutines_too) {
  static const method<streamed<int>(int)> with_errors{"with_errors"};
  w.function(with_errors, [](int to, sink<int>& out) -> task<> {
    for (int i = 0; i < to; ++i) {
      const auto sent = i % 2 == 0 ? co_await out.send_error(errc::execution_failed, "even")
                                   : co_await out.send(i);
      if (!sent) co_return;
    }
  });
  client host = attach_to(w);
  const serving_thread serving(w);
  auto items = host.server_stream(with_errors, 5'000);
  for (int i = 0; i < 5'000; ++i) {
    const auto next = items.read();
    if (i % 2 == 0) {
      ASSERT_FALSE(next);
      ASSERT_EQ(next.error().text, "even");
    } else {
      ASSERT_TRUE(next) << next.error().message();
      ASSERT_EQ(next->value_or(-1), i);
    }
  }
  expect_end(items);
}

}  // namespace
}  // namespace ferry
