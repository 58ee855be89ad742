// Items of the acceptance list of streams and calls (specs, rpcnet, section 3), by number, where no
// other file here shows them as they are written there.
#include <atomic>
#include <csignal>
#include <thread>

#include "tests/e2e/process.h"
#include "tests/e2e/streams.h"

namespace ferry {
namespace {

using namespace streams;

class acceptance : public streams_test {};

TEST_F(acceptance, item_1_a_pause_longer_than_the_limit_is_one_timeout_and_then_the_end) {
  launched host = start_streams();
  auto items = host.server_stream(count_slowly, {.idle_timeout = 200ms}, 10, 2000);
  const auto before = steady::now();
  const auto late = items.read();
  EXPECT_EQ(code_of(late), errc::timeout);
  EXPECT_GE(steady::now() - before, 200ms);
  expect_end(items);
}

TEST_F(acceptance, item_3_a_death_is_seen_while_a_thread_waits_for_the_next_item) {
  launched host = start_streams();
  auto talk = host.open(silent, {.idle_timeout = std::chrono::nanoseconds::max()});
  std::jthread killer([&] {
    EXPECT_TRUE(eventually([&] { return host.stats().streams_open == 1; }));
    std::this_thread::sleep_for(50ms);  // most likely it waits by then; right either way
    host.process().kill(SIGKILL);
  });
  const auto next = talk.responses().read();
  EXPECT_EQ(code_of(next), errc::unavailable);
  EXPECT_EQ(kind_of(next.error()), stream_error_kind::transport);
  expect_end(talk.responses());
}

TEST_F(acceptance, item_8_a_producer_far_ahead_makes_neither_side_grow) {
  launched host = start_streams();
  constexpr std::int64_t allowed_kib = 64 << 10;
  const auto grown = [&](const char* name) {
    return status_of(::getpid(), name) + status_of(host.process().pid(), name);
  };
  const auto before = grown("VmRSS");
  auto items = host.server_stream(blobs, 1024, 1 << 20);  // 1 GiB
  ASSERT_TRUE(items.read());
  for (int i = 0; i < 100; ++i) (void)host.run_once(1ms);
  EXPECT_LT(grown("VmRSS") - before, allowed_kib);
}

TEST_F(acceptance, item_9_an_upload_of_ten_idle_limits_succeeds) {
  launched host = start_streams();
  auto upload = host.upload(sum, {.idle_timeout = 80ms});
  for (int i = 0; i < 40; ++i) {
    std::this_thread::sleep_for(20ms);
    ASSERT_TRUE(upload.write(1));
  }
  EXPECT_EQ(upload.finish().value_or(0), 40);
}

TEST_F(acceptance, item_11_the_function_sees_no_more_time_than_the_caller_gave) {
  launched host = start_streams();
  for (const auto given : {500ms, 5000ms, 100'000ms}) {
    const auto left = host.call(time_left_ms, {.timeout = given});
    ASSERT_TRUE(left) << left.error().message();
    EXPECT_LE(*left, given.count());
    EXPECT_GT(*left, 0);
  }
}

TEST_F(acceptance, item_12_a_thousand_registrations_hold_up_no_call_of_eight_threads) {
  launched host = start_streams();
  std::atomic<bool> stop{false};
  std::atomic<long> calls{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; !stop; ++n) {
        const auto sum_of_two = host.call(add, i, n);
        ASSERT_TRUE(sum_of_two) << sum_of_two.error().message();
        ASSERT_EQ(*sum_of_two, i + n);
        ++calls;
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return calls > 100; }));
  EXPECT_EQ(host.call(replace, std::string("1000")).value_or(0), 1000);
  const long then = calls;
  EXPECT_TRUE(eventually([&] { return calls > then + 100; }));
  stop = true;
  threads.clear();
  EXPECT_EQ(host.invoke<int>("generated.999").value_or(-1), 999);
}

TEST_F(acceptance, item_13_malformed_bytes_are_a_bad_request_and_the_worker_lives) {
  launched host = start_streams();
  for (const std::string_view bytes : {"", "\xc1", "\x92\x01", "\xdd\xff\xff\xff\xff", "\x93\x01",
                                       "\x92\xa1x\x01", "text that is none"}) {
    const auto outcome = host.call("add", bytes_of(bytes));
    EXPECT_EQ(code_of(outcome), errc::invalid_params) << bytes;
    auto items = host.server_stream("count", bytes_of(bytes));
    EXPECT_EQ(code_of(items.read()), errc::invalid_params) << bytes;
  }
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
}

TEST_F(acceptance, item_19_ten_thousand_dropped_streams_leave_no_count) {
  launched host = start_streams();
  const auto before = descriptors_of(host.process().pid()).size();
  for (int i = 0; i < (sanitized ? 1000 : 10'000); ++i) {
    auto talk = host.open(co_twice);
    int one = 1;
    (void)talk.try_send(one);
  }
  expect_nothing_left(host);
  EXPECT_EQ(host.call(add, 1, 2).value_or(0), 3);
  EXPECT_EQ(descriptors_of(host.process().pid()).size(), before);
}

}  // namespace
}  // namespace ferry
