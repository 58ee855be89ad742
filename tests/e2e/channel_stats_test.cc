// What a channel says it counted, beside what others have counted.
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/raw_frames.h"

namespace ferry {
namespace {

using steady = std::chrono::steady_clock;

class channel_statistics : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_statistics, all_transports(), transport_name);

std::uint64_t on_the_wire(std::size_t data, std::size_t name) {
  return 64 + data + (name == 0 ? 0 : 5 + name);
}

double ms_since(steady::time_point began) {
  return std::chrono::duration<double, std::milli>(steady::now() - began).count();
}

TEST_P(channel_statistics, equal_what_was_sent) {
  channel_ends ends(GetParam());
  // What passes, as those see it who hand it in and are handed it.
  std::atomic<std::uint64_t> asked_count{0}, asked_bytes{0};
  ends.far->on_message([&, to = std::weak_ptr(ends.far)](message&& asked) {
    ++asked_count;
    asked_bytes += on_the_wire(asked.data.size(), asked.function.size());
    const auto chan = to.lock();
    const std::size_t half = asked.data.size() / 2;
    asked.data.narrow(0, half);
    if (chan) (void)chan->reply(asked, execution_success(std::move(asked.data)));
  });
  constexpr std::uint64_t count = 500;
  std::uint64_t sent_bytes = 0, answer_bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::vector<std::byte> body(i * 13);
    const std::string name(1 + i % 40, 'f');
    sent_bytes += on_the_wire(body.size(), name.size());
    auto answer = ends.near->request(execution_request(name, payload::copy_of(body)), generous);
    ASSERT_TRUE(answer) << answer.error().message();
    ASSERT_EQ(answer->data.size(), body.size() / 2);
    answer_bytes += on_the_wire(answer->data.size(), 0);
  }
  // A message is counted once it has gone, when its answer may be there already.
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().messages_sent == count; }));
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().bytes_sent == answer_bytes; }));
  EXPECT_EQ(asked_count, count);
  EXPECT_EQ(asked_bytes, sent_bytes);
  const channel_stats near = ends.near->get_stats(), far = ends.far->get_stats();
  EXPECT_EQ(near.messages_sent, count);
  EXPECT_EQ(near.messages_received, count);
  EXPECT_EQ(near.bytes_sent, sent_bytes);
  EXPECT_EQ(near.bytes_received, answer_bytes);
  EXPECT_EQ(far.messages_received, count);
  EXPECT_EQ(far.bytes_received, sent_bytes);
  EXPECT_EQ(near.latency.count(), count);
  EXPECT_EQ(far.latency.count(), 0u);  // it asked nothing
  EXPECT_EQ(far.avg_latency_ms, 0);
  for (const channel_stats& each : {near, far}) {
    EXPECT_EQ(each.requests_in_flight, 0u);
    EXPECT_EQ(each.timeout_errors, 0u);
    EXPECT_EQ(each.connection_errors, 0u);
    EXPECT_EQ(each.heartbeats_sent, 0u);
  }
  ends.far->on_message([](message&&) {});
}

TEST_P(channel_statistics, average_is_what_answers_took) {
  channel_ends ends(GetParam());
  constexpr int count = 10;
  constexpr double delay_ms = 30;
  std::thread server([&] {
    for (int i = 0; i < count + 1; ++i) {
      auto asked = ends.far->receive(generous);
      if (!asked) return;
      if (asked->function == "never") continue;
      std::this_thread::sleep_for(30ms);
      (void)ends.far->reply(*asked, execution_success());
    }
  });
  double seen_ms = 0;  // from outside: no less than what the channel measures
  for (int i = 0; i < count; ++i) {
    const auto began = steady::now();
    ASSERT_TRUE(ends.near->request(execution_request("slow"), generous));
    seen_ms += ms_since(began);
  }
  const double average = ends.near->get_stats().avg_latency_ms;
  // A turn that was interrupted between its look at the clock and its read may take off some.
  EXPECT_GE(average, delay_ms * 0.9);
  EXPECT_LE(average, seen_ms / count);
  // What is not answered is not among them.
  EXPECT_EQ(code_of(ends.near->request(execution_request("never"), 200ms)), errc::timeout);
  server.join();
  const channel_stats after = ends.near->get_stats();
  EXPECT_EQ(after.avg_latency_ms, average);
  EXPECT_EQ(after.latency.count(), static_cast<std::uint64_t>(count));
  EXPECT_EQ(after.timeout_errors, 1u);
}

TEST_P(channel_statistics, hold_the_delays_that_answers_had) {
  channel_ends ends(GetParam());
  constexpr int fast = 196, slow = 4;  // the slowest 2 percent
  std::thread server([&] {
    for (int i = 0; i < fast + slow; ++i) {
      auto asked = ends.far->receive(generous);
      if (!asked) return;
      if (asked->function == "slow") std::this_thread::sleep_for(40ms);
      (void)ends.far->reply(*asked, execution_success());
    }
  });
  std::vector<double> seen_us;  // from outside: each no shorter than what the channel measured
  double seen_sum = 0;
  for (int i = 0; i < fast + slow; ++i) {
    const auto began = steady::now();
    ASSERT_TRUE(ends.near->request(execution_request(i % 50 == 49 ? "slow" : "fast"), generous));
    seen_us.push_back(ms_since(began) * 1e3);
    seen_sum += seen_us.back();
  }
  server.join();
  std::ranges::sort(seen_us);
  const channel_stats stats = ends.near->get_stats();
  const latency_histogram& latency = stats.latency;
  ASSERT_EQ(latency.count(), seen_us.size());
  EXPECT_GE(latency.percentile_us(0.99), 38'000u);  // 40 ms, less the width of a bucket
  for (const double part : {0.1, 0.5, 0.9, 0.99}) {
    const auto rank = static_cast<std::size_t>(part * static_cast<double>(seen_us.size()));
    EXPECT_LE(static_cast<double>(latency.percentile_us(part)), seen_us[rank]) << part;
  }
  // A mean of all: neither a median, which these few would not move, nor of the slow ones alone.
  EXPECT_GE(stats.avg_latency_ms, 40.0 * slow / (fast + slow) * 0.9);
  EXPECT_LE(stats.avg_latency_ms, seen_sum / 1e3 / static_cast<double>(seen_us.size()));
}

// The average is a true mean: that of the histogram beside it, as far as its buckets can tell.
TEST_P(channel_statistics, have_an_average_within_a_hundredth_of_the_histograms) {
  channel_ends ends(GetParam());
  constexpr int count = 100;
  std::thread server([&] {
    for (int i = 0; i < count; ++i) {
      auto asked = ends.far->receive(generous);
      if (!asked) return;
      // Longer and longer, so that no last or middle one is taken for the mean, and over many
      // buckets, so that what each rounds off is made up for by others.
      std::this_thread::sleep_for(500us + 100us * i);
      (void)ends.far->reply(*asked, execution_success());
    }
  });
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(ends.near->request(execution_request("slow"), generous));
  }
  server.join();
  const channel_stats stats = ends.near->get_stats();
  const latency_histogram& latency = stats.latency;
  double lowest = 0, highest = 0;  // what their sum may be
  std::uint64_t held = 0;
  for (std::size_t bucket = 0; bucket + 1 < latency_histogram::buckets; ++bucket) {
    const auto answers = latency.in_bucket(bucket);
    held += answers;
    lowest +=
        static_cast<double>(answers) * static_cast<double>(latency_histogram::lowest_in(bucket));
    highest += static_cast<double>(answers) *
               static_cast<double>(latency_histogram::lowest_in(bucket + 1));
  }
  ASSERT_EQ(held, static_cast<std::uint64_t>(count));
  const double mean_us = (lowest + highest) / 2 / count;
  const double average_us = stats.avg_latency_ms * 1e3;
  EXPECT_NEAR(average_us, mean_us, mean_us * 0.01);
  EXPECT_GE(average_us, lowest / count);
  EXPECT_LE(average_us, highest / count);
  EXPECT_DOUBLE_EQ(latency.mean_us(), average_us);
}

// The other end is a socket, read and written by hand.
TEST(channel_statistics_of_bytes, are_those_that_pass_the_socket) {
  if (!reactor::create()) GTEST_SKIP() << "expected: no reactor here";
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  unique_fd near(ends[0]);
  const unique_fd by_hand(ends[1]);
  send_all(by_hand, hello_frame());
  auto made = adopt_channel(std::move(near), true, test_instance());
  ASSERT_TRUE(made) << made.error().message();
  const channel_ptr chan = *made;
  const std::size_t welcome = 64;
  raw_bytes all(1 << 20);
  ASSERT_EQ(::recv(by_hand.get(), all.data(), welcome, MSG_WAITALL), 64);

  constexpr std::uint64_t count = 40;
  for (std::uint64_t i = 0; i < count; ++i) {
    message what = execution_request(std::string(i % 7, 'n'), payload::copy_of(raw_bytes(i * 100)));
    if (i % 3 == 0) what.metadata = {{"key", std::string(i, 'v')}};
    ASSERT_TRUE(chan->send(std::move(what)));
  }
  std::size_t passed = 0;
  const std::uint64_t said = chan->get_stats().bytes_sent;
  while (passed < said) {
    const auto got = ::recv(by_hand.get(), all.data() + passed, all.size() - passed, 0);
    ASSERT_GT(got, 0);
    passed += static_cast<std::size_t>(got);
  }
  EXPECT_EQ(::recv(by_hand.get(), all.data() + passed, 1, MSG_DONTWAIT), -1);  // nothing more
  EXPECT_EQ(passed, said);
  EXPECT_EQ(chan->get_stats().messages_sent, count);

  all.resize(passed);
  send_all(by_hand, all);  // the same, back
  for (std::uint64_t i = 0; i < count; ++i) {
    auto next = chan->receive(generous);
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_EQ(next->data.size(), i * 100);
  }
  EXPECT_EQ(chan->get_stats().bytes_received, passed);
  EXPECT_EQ(chan->get_stats().messages_received, count);
}

}  // namespace
}  // namespace ferry
