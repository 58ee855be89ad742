// Items of streams: order, sizes, windows, errors, ends.
#include "tests/e2e/process.h"
#include "tests/e2e/streams.h"

namespace ferry {
namespace {

using namespace streams;

class stream_items : public streams_test {};

TEST_F(stream_items, of_a_server_come_in_order_and_then_the_end) {
  launched host = start_streams();
  for (const int items : {0, 1, 15, 16, 17, 1023, 1024, 1025, 100'000}) {
    auto numbers = host.server_stream(count, items);
    const auto [came, why] = all_of(numbers);
    ASSERT_FALSE(why) << why->message();
    ASSERT_EQ(came.size(), static_cast<std::size_t>(items));
    for (int i = 0; i < items; ++i) ASSERT_EQ(came[static_cast<std::size_t>(i)], i);
    expect_end(numbers);
  }
  expect_nothing_left(host);
}

TEST_F(stream_items, of_a_coroutine_come_like_those_of_a_function) {
  launched host = start_streams();
  auto numbers = host.server_stream(co_count, 50'000);
  const auto [came, why] = all_of(numbers);
  EXPECT_FALSE(why) << why->message();
  EXPECT_EQ(came.size(), 50'000u);
}

TEST_F(stream_items, fit_through_windows_of_any_size) {
  launched host = start_streams();
  for (const std::uint32_t items : {1u, 2u, 3u, 7u, 5000u}) {
    call_options options;
    options.window.items = items;
    auto numbers = host.server_stream(count, options, 2000);
    EXPECT_EQ(all_of(numbers).first.size(), 2000u);
    options = {};
    options.send_window = static_cast<std::uint16_t>(items);
    auto upload = host.upload(sum, options);
    for (int i = 0; i < 2000; ++i) ASSERT_TRUE(upload.write(i));
    EXPECT_EQ(upload.finish().value_or(0), 1999 * 1000);
  }
  call_options tiny;
  tiny.window.bytes = 1;  // one item at a time, whatever its size
  auto large = host.server_stream(blobs, tiny, 50, 100'000);
  EXPECT_EQ(all_of(large).first.size(), 50u);
}

TEST_F(stream_items, of_every_size_arrive_whole) {
  launched host = start_streams();
  for (const int bytes : {0, 1, 64, 65, 2048, 2049, 1 << 20, 20 << 20}) {
    auto items = host.server_stream(blobs, 5, bytes);
    int seen = 0;
    for (auto next = items.read(); next && *next; next = items.read(), ++seen) {
      ASSERT_EQ((*next)->size(), static_cast<std::size_t>(bytes));
      for (const std::byte each : (*next)->bytes()) ASSERT_EQ(each, static_cast<std::byte>(seen));
    }
    EXPECT_EQ(seen, 5);
  }
  expect_nothing_left(host);
}

TEST_F(stream_items, of_a_host_arrive_from_spans_and_from_loans) {
  launched host = start_streams();
  auto upload = host.upload(total_bytes);
  long sent = 0;
  for (const std::size_t size : {0u, 1u, 2048u, 2049u, 3u << 20}) {
    const std::string text(size, 'x');
    ASSERT_TRUE(upload.write(bytes_of(text)));
    auto filled = upload.borrow(size);
    ASSERT_TRUE(filled);
    ASSERT_TRUE(upload.write(std::move(*filled)));
    sent += 2 * static_cast<long>(size);
  }
  EXPECT_EQ(upload.finish().value_or(-1), sent);
}

TEST_F(stream_items, of_no_bytes_are_items_in_both_directions) {
  launched host = start_streams();
  auto nothing = host.server_stream(empties, 10);
  EXPECT_EQ(all_of(nothing).first, std::vector<std::string>(10));
  auto blob = host.server_stream(blobs, 3, 0);
  EXPECT_EQ(all_of(blob).first.size(), 3u);
  auto three = host.upload(read_three);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(three.write(std::string()));
  EXPECT_EQ(three.finish().value_or(0), 3);
}

TEST_F(stream_items, that_are_errors_let_the_stream_go_on) {
  launched host = start_streams();
  auto items = host.server_stream(with_bad_items);
  EXPECT_EQ(items.read().value().value_or(0), 1);
  const auto bad = items.read();
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, errc::execution_failed);
  EXPECT_EQ(bad.error().text, "the second one is bad");
  EXPECT_EQ(kind_of(bad.error()), stream_error_kind::application);
  EXPECT_EQ(items.read().value().value_or(0), 3);
  expect_end(items);
}

TEST_F(stream_items, before_an_error_of_the_function_come_and_then_its_own_error) {
  launched host = start_streams();
  auto items = host.server_stream(count_then_fail, 3, 42);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(items.read().value().value_or(-1), i);
  const auto why = items.read();
  ASSERT_FALSE(why);
  EXPECT_EQ(kind_of(why.error()), stream_error_kind::application);
  EXPECT_EQ(why.error().text, "refused: later");
  ASSERT_TRUE(why.error().detail);
  EXPECT_EQ(why.error().detail->code, 42);
  expect_end(items);
}

TEST_F(stream_items, that_do_not_decode_are_an_error_and_the_end) {
  launched host = start_streams();
  static const method<streamed<int>()> not_an_int{"not_an_int"};
  auto items = host.server_stream(not_an_int);
  EXPECT_EQ(code_of(items.read()), errc::internal);
  expect_end(items);
  static const method<long(streamed<std::string>)> wrong_sum{"sum"};
  auto upload = host.upload(wrong_sum);
  ASSERT_TRUE(upload.write("no number"));
  EXPECT_EQ(code_of(upload.finish()), errc::invalid_params);
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
}

TEST_F(stream_items, go_both_ways_at_their_own_pace) {
  launched host = start_streams();
  for (const auto* both : {&twice, &co_twice}) {
    auto talk = host.open(*both);
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(talk.write(i));
      const auto answer = talk.responses().read();
      ASSERT_TRUE(answer) << answer.error().message();
      ASSERT_EQ(answer->value_or(-1), 2 * i);
    }
    talk.close_send();
    const auto [rest, why] = all_of(talk.responses());
    EXPECT_FALSE(why);
    EXPECT_LE(rest.size(), 1u);  // `twice` says goodbye after our end: half closed, not aborted
  }
  expect_nothing_left(host);
}

TEST_F(stream_items, wait_for_a_reader_without_losing_one) {
  launched host = start_streams();
  auto talk = host.open(twice);
  // More than both windows hold: the writer has to wait for the reader, which is this thread.
  int sent = 0;
  for (;; ++sent) {
    auto taken = talk.try_send(sent);
    ASSERT_TRUE(taken);
    if (*taken) continue;
    (void)host.run_once(20ms);
    taken = talk.try_send(sent);
    ASSERT_TRUE(taken);
    if (!*taken) break;
  }
  EXPECT_GT(sent, 1000);
  for (int i = 0; i < sent; ++i) ASSERT_EQ(talk.responses().read().value().value_or(-1), 2 * i);
  ASSERT_TRUE(talk.write(sent));
  EXPECT_EQ(talk.responses().read().value().value_or(-1), 2 * sent);
}

TEST_F(stream_items, that_wait_for_bodies_to_come_back_cost_nothing_meanwhile) {
  client_options options;
  options.session.returns_cells = 16;  // an eighth of them is spare
  launched host = start_streams(options);
  auto many = host.server_stream(streams::co_blobs, {}, 40, 5'000);
  std::vector<body> kept;
  for (int i = 0; i < 14; ++i) {
    auto next = many.read();
    ASSERT_TRUE(next && *next);
    kept.push_back(std::move(**next));
  }
  std::this_thread::sleep_for(100ms);
  const auto before = cpu_time_of(host.pid());
  std::this_thread::sleep_for(400ms);
  EXPECT_LT(cpu_time_of(host.pid()) - before, 200ms);
  EXPECT_EQ(host.call(streams::add, 1, 2).value_or(0), 3);  // others go on
  for (int i = 14; i < 40; ++i) {
    kept.erase(kept.begin());
    auto next = many.read();
    ASSERT_TRUE(next && *next) << i;
    EXPECT_EQ((*next)->bytes().front(), static_cast<std::byte>(i));
    kept.push_back(std::move(**next));
  }
  expect_end(many);
  kept.clear();
  expect_nothing_left(host);
}

TEST_F(stream_items, of_a_producer_far_ahead_take_no_more_memory_than_the_window) {
  launched host = start_streams();
  constexpr int item = 1 << 20;
  auto items = host.server_stream(blobs, 1024, item);
  EXPECT_TRUE(items.read());
  // The producer runs ahead as far as it may; nobody reads.
  for (int i = 0; i < 50; ++i) (void)host.run_once(1ms);
  const auto waiting = host.holdings();
  ASSERT_EQ(waiting.calls.size(), 1u);
  EXPECT_TRUE(waiting.calls[0].stream);
  EXPECT_EQ(waiting.calls[0].function, "blobs");
  EXPECT_LE(waiting.calls[0].items_waiting, 5u);  // 4 MiB and one item
}

}  // namespace
}  // namespace ferry
