#include <thread>

#include "tests/unit/engine/reactor_fixture.h"

namespace ferry {
namespace {

using reactor_timer = on_each_reactor;
FERRY_ON_EACH_REACTOR(reactor_timer);

TEST_P(reactor_timer, a_zero_or_negative_timeout_does_not_block) {
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  EXPECT_EQ(*loop->wait(events, -5s), 0u);
}

TEST_P(reactor_timer, a_timeout_passes_and_not_early) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  for (const std::chrono::nanoseconds timeout : {5'000'000ns, 300'000ns, 1ns}) {
    const auto start = steady::now();
    EXPECT_EQ(wait_for(events, timeout), 0u);
    EXPECT_GE(steady::now() - start, timeout);
  }
}

TEST_P(reactor_timer, a_timeout_without_end_is_cut_short_by_an_event) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  std::thread sender([&] { say(pair.theirs); });
  EXPECT_EQ(wait_for(events, std::chrono::hours(2000)), 1u);
  EXPECT_EQ(*loop->wait(events, std::chrono::nanoseconds::max()), 1u);
  sender.join();
}

TEST_P(reactor_timer, ends_a_wait_without_an_event_and_is_then_forgotten) {
  const auto when = steady::now() + 5ms;
  ASSERT_TRUE(loop->set_timer(when));
  while (steady::now() < when) EXPECT_EQ(*loop->wait(events, std::nullopt), 0u);
  // Forgotten: only the timeout ends this one.
  const auto start = steady::now();
  EXPECT_EQ(wait_for(events, 5ms), 0u);
  EXPECT_GE(steady::now() - start, 5ms);
}

TEST_P(reactor_timer, makes_fd_readable_when_due_and_wait_consumes_it) {
  const int outside = loop->fd();
  const auto when = steady::now() + 5ms;
  ASSERT_TRUE(loop->set_timer(when));
  EXPECT_EQ(poll_outside(outside, generous), POLLIN);
  EXPECT_GE(steady::now(), when);
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  EXPECT_EQ(poll_outside(outside, 0ms), 0);
}

TEST_P(reactor_timer, set_before_fd_was_asked_for_makes_it_readable_too) {
  ASSERT_TRUE(loop->set_timer(steady::now() + 5ms));
  EXPECT_EQ(poll_outside(loop->fd(), generous), POLLIN);
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  EXPECT_EQ(poll_outside(loop->fd(), 0ms), 0);
}

TEST_P(reactor_timer, can_be_moved_and_taken_back) {
  const int outside = loop->fd();
  ASSERT_TRUE(loop->set_timer(steady::time_point::max()));
  EXPECT_EQ(poll_outside(outside, 0ms), 0);
  ASSERT_TRUE(loop->set_timer(steady::time_point::min()));  // long past
  EXPECT_EQ(poll_outside(outside, generous), POLLIN);
  EXPECT_EQ(*loop->wait(events, std::nullopt), 0u);
  ASSERT_TRUE(loop->set_timer(steady::now() + 1h));
  EXPECT_EQ(poll_outside(outside, 0ms), 0);
  ASSERT_TRUE(loop->set_timer(steady::now()));
  EXPECT_EQ(poll_outside(outside, generous), POLLIN);
  ASSERT_TRUE(loop->set_timer(std::nullopt));
  EXPECT_EQ(poll_outside(outside, 0ms), 0);
}

TEST_P(reactor_timer, does_not_hide_an_event) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 4));
  loop->fd();
  ASSERT_TRUE(loop->set_timer(steady::now()));
  say(pair.theirs);
  ASSERT_EQ(wait_for(std::span(events).first(1)), 1u);
  EXPECT_EQ(events[0].token, 4u);
}

}  // namespace
}  // namespace ferry
