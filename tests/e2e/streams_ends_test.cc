// How streams end when something goes wrong: time, death, refusal, loss of interest.
#include <csignal>

#include "tests/e2e/streams.h"

namespace ferry {
namespace {

using namespace streams;

class stream_ends : public streams_test {};

TEST_F(stream_ends, not_by_idleness_while_items_come_in_time) {
  launched host = start_streams();
  auto items = host.server_stream(count_slowly, {.idle_timeout = 400ms}, 20, 50);
  const auto [came, why] = all_of(items);
  EXPECT_FALSE(why) << why->message();
  EXPECT_EQ(came.size(), 20u);
}

TEST_F(stream_ends, by_one_timeout_when_an_item_is_late) {
  launched host = start_streams();
  auto items = host.server_stream(count_slowly, {.idle_timeout = 100ms}, 3, 5000);
  const auto before = steady::now();
  const auto why = items.read();
  const auto took = steady::now() - before;
  ASSERT_FALSE(why);
  EXPECT_EQ(kind_of(why.error()), stream_error_kind::timeout);
  EXPECT_GE(took, 100ms);
  EXPECT_LT(took, 5s);
  expect_end(items);
  expect_nothing_left(host);
}

TEST_F(stream_ends, not_while_the_consumer_is_slow_and_items_wait) {
  launched host = start_streams();
  auto items = host.server_stream(count, {.idle_timeout = 50ms}, 10);
  for (int i = 0; i < 10; ++i) {
    const auto item = items.read();
    ASSERT_TRUE(item) << item.error().message();
    EXPECT_EQ(item->value_or(-1), i);
    std::this_thread::sleep_for(i < 3 ? 150ms : 0ms);
  }
  expect_end(items);
}

TEST_F(stream_ends, not_while_the_function_tells_of_progress) {
  launched host = start_streams();
  auto items = host.server_stream(work_long, {.idle_timeout = 300ms}, 1000);
  const auto item = items.read();
  ASSERT_TRUE(item) << item.error().message();
  EXPECT_EQ(item->value_or(0), 1000);
}

TEST_F(stream_ends, by_one_timeout_when_nothing_follows_a_mark_of_progress) {
  launched host = start_streams();
  constexpr auto idle = 2000ms, mark = 200ms;
  const auto before = steady::now();
  auto items = host.server_stream(mark_once, {.idle_timeout = idle}, mark / 1ms);
  const auto why = items.read();
  const auto took = steady::now() - before;
  ASSERT_FALSE(why);
  EXPECT_EQ(kind_of(why.error()), stream_error_kind::timeout);
  EXPECT_GE(took, mark + idle);
  EXPECT_LT(took, 2 * idle - mark);  // and not once more from when the first limit had passed
}

TEST_F(stream_ends, with_the_idle_limit_of_the_client_by_default) {
  client_options options;
  options.idle_timeout = 60ms;
  launched host = start_streams(options);
  auto talk = host.open(silent);
  EXPECT_EQ(code_of(talk.responses().read()), errc::timeout);
  auto without = host.open(silent, {.idle_timeout = std::chrono::nanoseconds::max()});
  std::jthread later([&] {
    std::this_thread::sleep_for(200ms);
    without.close_send();
  });
  EXPECT_TRUE(without.responses().read());
}

TEST_F(stream_ends, an_upload_may_take_longer_than_the_idle_limit_if_it_goes_on) {
  launched host = start_streams();
  auto upload = host.upload(sum, {.idle_timeout = 100ms});
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(20ms);
    ASSERT_TRUE(upload.write(1));
  }
  EXPECT_EQ(upload.finish().value_or(0), 50);
}

TEST_F(stream_ends, by_one_transport_error_when_the_worker_is_killed) {
  launched host = start_streams();
  auto items = host.server_stream(endless);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(items.read());
  auto talk = host.open(silent);
  auto upload = host.upload(sum);
  ASSERT_TRUE(upload.write(1));
  host.process().kill(SIGKILL);
  std::optional<call_error> why;
  for (;;) {  // what came before is still delivered
    const auto next = items.read();
    if (!next) {
      why = next.error();
      break;
    }
    ASSERT_TRUE(*next) << "a death that looks like an end";
  }
  EXPECT_EQ(kind_of(*why), stream_error_kind::transport);
  expect_end(items);
  EXPECT_EQ(code_of(talk.responses().read()), errc::unavailable);
  expect_end(talk.responses());
  EXPECT_EQ(code_of(talk.write(1)), errc::unavailable);
  EXPECT_EQ(code_of(upload.finish()), errc::unavailable);
}

TEST_F(stream_ends, when_the_function_ends_though_the_host_still_writes) {
  launched host = start_streams();
  auto talk = host.open(end_after_one);
  ASSERT_TRUE(talk.write(0));
  EXPECT_EQ(talk.responses().read().value().value_or(0), 1);
  expect_end(talk.responses());
  const auto late = talk.write(1);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::closed);
  // Also one that waits for credit wakes.
  auto other = host.open(end_after_one, {.send_window = 1});
  std::optional<call_error> woken;
  for (int i = 0; i < 100 && !woken; ++i) {
    if (const auto sent = other.write(i); !sent) woken = sent.error();
  }
  ASSERT_TRUE(woken);
  EXPECT_EQ(woken->code, errc::closed);
}

TEST_F(stream_ends, at_once_when_nobody_knows_the_function) {
  launched host = start_streams();
  static const method<int(int)> no_call{"no such call"};
  static const method<streamed<int>(int)> no_stream{"no such stream"};
  static const method<int(streamed<int>)> no_upload{"no such upload"};
  static const method<streamed<int>(streamed<int>)> no_talk{"no such talk"};
  EXPECT_EQ(code_of(host.call(no_call, 1)), errc::function_not_found);
  auto items = host.server_stream(no_stream, 1);
  const auto why = items.read();
  EXPECT_EQ(code_of(why), errc::function_not_found);
  EXPECT_NE(why.error().text.find("no such stream"), std::string::npos);
  expect_end(items);
  EXPECT_EQ(code_of(host.upload(no_upload).finish()), errc::function_not_found);
  auto talk = host.open(no_talk);
  EXPECT_EQ(code_of(talk.responses().read()), errc::function_not_found);
}

TEST_F(stream_ends, at_once_when_the_function_is_of_another_kind) {
  launched host = start_streams();
  static const method<int(int)> count_call{"count"};
  static const method<streamed<int>(int, int)> add_stream{"add"};
  EXPECT_EQ(code_of(host.call(count_call, 1)), errc::invalid_request);
  auto items = host.server_stream(add_stream, 1, 2);
  EXPECT_EQ(code_of(items.read()), errc::invalid_request);
}

TEST_F(stream_ends, for_the_function_too_when_the_host_drops_them) {
  launched host = start_streams();
  int expected = 0;
  {
    auto items = host.server_stream(endless);
    ASSERT_TRUE(items.read());
  }
  EXPECT_TRUE(eventually([&] { return stops_of(host) == expected + 1; }));
  ++expected;
  {
    auto talk = host.open(silent);
    ASSERT_TRUE(eventually([&] { return host.call(silent_begins).value_or(0) != 0; }));
  }
  EXPECT_TRUE(eventually([&] { return stops_of(host) == expected + 1; }));
  ++expected;
  {
    auto talk = host.open(co_twice);
    for (int i = 0; i < 20'000; ++i) {
      int item = i;
      if (const auto sent = talk.try_send(item); !sent || !*sent) (void)host.run_once();
    }
    talk.abort();
    talk.abort();
  }
  expect_nothing_left(host);
}

TEST_F(stream_ends, as_cancelled_when_their_stop_token_says_so) {
  launched host = start_streams();
  std::stop_source stop;
  auto talk = host.open(silent, {.stop = stop});
  std::jthread later([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  const auto why = talk.responses().read();
  ASSERT_FALSE(why);
  EXPECT_EQ(kind_of(why.error()), stream_error_kind::cancelled);
  expect_end(talk.responses());
  EXPECT_TRUE(eventually([&] { return stops_of(host) == 1; }));
  auto early = host.open(silent, {.stop = stop});
  EXPECT_EQ(code_of(early.responses().read()), errc::cancelled);
}

TEST_F(stream_ends, at_the_deadline_of_the_whole_if_one_is_given) {
  launched host = start_streams();
  auto items = host.server_stream(endless, {.timeout = 50ms});
  const auto [came, why] = all_of(items);
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, errc::timeout);
  EXPECT_FALSE(came.empty());
  expect_nothing_left(host);
}

TEST_F(stream_ends, with_the_client_and_may_outlive_it) {
  std::optional<launched> host = start_streams();
  auto items = host->server_stream(endless);
  auto talk = host->open(silent);
  ASSERT_TRUE(items.read());
  host.reset();
  EXPECT_EQ(code_of(talk.responses().read()), errc::closed);
  EXPECT_FALSE(talk.write(1));
  const auto [came, why] = all_of(items);
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, errc::closed);
}

}  // namespace
}  // namespace ferry
