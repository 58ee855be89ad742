// Whoever waited for room in vain leaves nothing behind: no message, and no work for the loop.
#include <poll.h>

#include <thread>

#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

using steady = std::chrono::steady_clock;

class channel_room : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_room, all_transports(), transport_name);

constexpr auto watched = 400ms;
constexpr auto idle_most = 150ms;  // of CPU; whoever spins takes all that it gets

// What it costs to have nothing to do, for a host that lets the loop wait.
std::chrono::nanoseconds cost_of_waiting(loop& driven) {
  return cpu_time_of([&] {
    const auto until = steady::now() + watched;
    for (auto now = steady::now(); now < until; now = steady::now()) {
      EXPECT_TRUE(driven.run_once(until - now));
    }
  });
}

// The same for one that polls.
std::chrono::nanoseconds cost_of_polling(loop& driven) {
  return cpu_time_of([&] {
    const auto until = steady::now() + watched;
    EXPECT_TRUE(driven.run_once());
    for (auto now = steady::now(); now < until; now = steady::now()) {
      pollfd news{driven.fd(), POLLIN, 0};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
      if (::poll(&news, 1, static_cast<int>(left.count())) == 0) break;
      EXPECT_TRUE(driven.run_once());
    }
  });
}

struct full_channel {
  channel_ends ends;
  int kept = 0;  // sent by the channel's own account

  explicit full_channel(const std::string& transport)
      : ends(transport, small_outbox(), deaf()) {  // nobody receives, so little is read
    for (int in_vain = 0; in_vain < 3;) {          // a kernel may find more room after a while
      const auto sent = ends.near->send(a_message("kept"), {true, 200ms});
      if (!sent) {
        EXPECT_EQ(sent.error().code, errc::timeout) << sent.error().message();
      }
      kept += sent.has_value();
      in_vain = sent ? 0 : in_vain + 1;
    }
  }
  static channel_options small_outbox() {
    channel_options options;
    options.outbox_bytes = 64 << 10;
    options.session.ring_bytes = 8192;
    options.session.inline_limit = 512;
    return options;
  }
  static channel_options deaf() {
    channel_options options;
    options.inbox_messages = 1;
    return options;
  }
  static message a_message(std::string name) {
    return execution_request(std::move(name), payload::copy_of(std::vector<std::byte>(20'000)));
  }
};

TEST_P(channel_room, that_never_came_is_waited_for_by_nobody_any_more) {
  full_channel full(GetParam());
  channel& near = *full.ends.near;
  loop mine = near.loop();
  // In each of the ways there are, by several at once. A kernel may find some room after all: what
  // left is accounted for.
  std::atomic<int> left{0}, requests_left{0}, unsent{0};
  const auto count_request = [&](const message_result& how) {
    EXPECT_EQ(code_of(how), errc::timeout);
    const bool gone = how.error().maybe_executed;
    left += gone;
    requests_left += gone;
    unsent += !gone;
  };
  std::vector<std::thread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] {
      const auto how = near.send(full_channel::a_message("late"), {true, 50ms});
      if (!how) {
        EXPECT_EQ(how.error().code, errc::timeout);
      }
      left += how.has_value();
      unsent += !how;
    });
    others.emplace_back(
        [&] { count_request(near.request(full_channel::a_message("late"), 50ms)); });
  }
  for (std::thread& each : others) each.join();
  int expired = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        near.request_async(full_channel::a_message("late"), 50ms, [&](message_result&& how) {
          count_request(how);
          ++expired;
        }));
  }
  while (expired < 3) ASSERT_TRUE(mine.run_once(generous));
  if (GetParam() != "tcp" && GetParam() != "tls") {  // whose windows may open late
    EXPECT_GT(unsent, 0);
  }
  EXPECT_EQ(left + unsent, 9);
  EXPECT_EQ(near.get_stats().requests_in_flight, 0u);
  // Who is told "maybe" is told so without need when both of its clocks run out at once.
  const int sent = static_cast<int>(near.get_stats().messages_sent) - full.kept;
  EXPECT_LE(sent, left);
  EXPECT_GE(sent, left - requests_left);
  // The peer is told of those that it may have come to know.
  EXPECT_EQ(near.get_stats().cancels_sent, static_cast<std::uint64_t>(requests_left));

  // While there is no room, and when it has come and nobody wants it.
  EXPECT_LT(cost_of_waiting(mine), idle_most);
  EXPECT_LT(cost_of_polling(mine), idle_most);
  std::atomic<int> kept{0}, late{0}, last{0};
  full.ends.far->on_message([&](message&& what) {
    (what.function == "kept" ? kept : what.function == "late" ? late : last)++;
  });
  while (kept < full.kept) ASSERT_TRUE(mine.run_once(10ms));
  EXPECT_LT(cost_of_waiting(mine), idle_most);
  EXPECT_LT(cost_of_polling(mine), idle_most);

  ASSERT_TRUE(near.send(execution_request("last"), {true, generous}));
  ASSERT_TRUE(eventually([&] {
    (void)mine.run_once(1ms);
    return last == 1;
  }));
  EXPECT_EQ(kept, full.kept);
  EXPECT_EQ(late, sent);
  full.ends.far->on_message([](message&&) {});
}

// Small rooms everywhere, for what is sent and for what waits to be.
channel_options little_room() {
  channel_options options = full_channel::small_outbox();
  options.waiting_bytes = 1 << 20;
  return options;
}

TEST_P(channel_room, is_waited_for_by_a_bounded_number_of_bytes) {
  std::atomic<int> arrived{0};
  int started = 0, told = 0, answered = 0;
  channel_ends ends(GetParam(), little_room(), full_channel::deaf());
  channel& near = *ends.near;
  loop mine = near.loop();
  const auto begin = [&] {
    const auto sent =
        near.send_async(full_channel::a_message("kept"), [&](send_result&&) { ++told; });
    started += sent.has_value();
    return code_of(sent);
  };
  // Until nothing more is taken, though the kernel had time to take what it does.
  for (int refused = 0; refused < 10;) {
    const errc how = begin();
    if (how == errc{}) {
      refused = 0;
      continue;
    }
    ASSERT_EQ(how, errc::full);
    ++refused;
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(mine.run_once(1ms));
  }
  const auto depth = near.get_stats().send_queue_depth;
  EXPECT_GT(depth, (1u << 20) - 21'000);  // as much waits as may
  EXPECT_LE(depth, (1u << 20) + (64u << 10) + 2 * 21'000);
  EXPECT_GE(near.get_stats().send_queue_peak, depth);
  EXPECT_LT(near.get_stats().send_queue_peak, depth + (1 << 20));
  EXPECT_EQ(code_of(near.request_async(full_channel::a_message("asked"), generous,
                                       [&](message_result&&) { ++answered; })),
            errc::full);
  EXPECT_EQ(near.get_stats().requests_in_flight, 0u);
  // What is small finds its place still, and waits within its deadline.
  errc small{};
  ASSERT_TRUE(near.request_async(execution_request("never"), 50ms,
                                 [&](message_result&& how) { small = code_of(how); }));
  ASSERT_TRUE(eventually([&] {
    (void)mine.run_once(1ms);
    return small != errc{};
  }));
  EXPECT_EQ(small, errc::timeout);

  ends.far->on_message([&](message&& what) {
    arrived += what.function == "kept";
    EXPECT_NE(what.function, "asked");
  });
  ASSERT_TRUE(eventually([&] {
    (void)mine.run_once(1ms);
    return arrived == started;
  }));
  EXPECT_EQ(told, started);
  EXPECT_EQ(answered, 0);
  EXPECT_TRUE(eventually([&] {
    (void)mine.run_once(1ms);
    return near.get_stats().send_queue_depth == 0;
  }));
  // One message may always wait, however large.
  const std::vector<std::byte> large(3 << 20);
  ASSERT_EQ(
      code_of(near.send_async(execution_request("kept", payload::copy_of(large)), [](auto&&) {})),
      errc{});
  EXPECT_EQ(begin(), errc::full);
  ASSERT_TRUE(eventually([&] {
    (void)mine.run_once(1ms);
    return arrived == started + 1;
  }));
  ends.far->on_message([](message&&) {});
}

TEST_P(channel_room, is_found_for_every_answer_of_a_callback) {
  constexpr int asked = 200;
  const std::vector<std::byte> body(20'000);
  std::atomic<int> came{0}, answered{0};
  channel_ends ends(GetParam(), little_room(), full_channel::deaf());
  ends.near->on_message([&](message&& what) {
    ++came;
    EXPECT_TRUE(ends.near->reply(what, execution_success(payload::copy_of(body))));
  });
  ASSERT_TRUE(ends.near->send(execution_request("fills the inbox")));
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().inbox_depth == 1; }));
  for (int i = 0; i < asked; ++i) {
    ASSERT_TRUE(ends.far->request_async(
        execution_request("f"), generous,
        [&](message_result&& how) { answered += how && how->data.size() == body.size(); }));
  }
  ASSERT_TRUE(eventually([&] {
    (void)ends.near->loop().run_once(1ms);
    return came == asked;
  }));
  // More than may wait of anything else.
  if (GetParam() != "tcp" && GetParam() != "tls") {  // whose buffers may hold it all
    EXPECT_GT(ends.near->get_stats().send_queue_depth, 1u << 20);
  }
  EXPECT_TRUE(ends.far->receive(generous));
  EXPECT_TRUE(eventually([&] {
    (void)ends.near->loop().run_once(1ms);
    return answered == asked;
  }));
  ends.near->on_message([](message&&) {});
}

}  // namespace
}  // namespace ferry
