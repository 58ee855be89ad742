#include <vector>

#include "tests/unit/engine/reactor_fixture.h"

namespace ferry {
namespace {

using reactor_notify = on_each_reactor;
FERRY_ON_EACH_REACTOR(reactor_notify);

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string next_message(const unique_fd& socket) {
  std::array<char, 64> bytes;
  const ssize_t size = ::recv(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  return size < 0 ? "nothing" : std::string(bytes.data(), static_cast<std::size_t>(size));
}

TEST_P(reactor_notify, delivers_a_copy_at_the_next_flush) {
  socket_pair pair;
  std::string text = "sixteen bytes: !";
  ASSERT_EQ(text.size(), notify_max_bytes);
  loop->notify(pair.ours.get(), bytes_of(text));
  text.assign("spoiled");
  loop->flush();
  EXPECT_EQ(next_message(pair.theirs), "sixteen bytes: !");
  EXPECT_EQ(next_message(pair.theirs), "nothing");
  loop->flush();
  EXPECT_EQ(next_message(pair.theirs), "nothing");
}

TEST_P(reactor_notify, delivers_at_the_next_wait) {
  socket_pair pair;
  loop->notify(pair.ours.get(), bytes_of("a"));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  EXPECT_EQ(next_message(pair.theirs), "a");
}

TEST_P(reactor_notify, delivers_before_a_wait_that_blocks_and_is_itself_no_event) {
  socket_pair pair;
  socket_pair answer;
  ASSERT_TRUE(loop->watch(answer.ours.get(), 5));
  const auto start = steady::now();
  loop->notify(pair.ours.get(), bytes_of("a"));
  loop->notify(pair.ours.get(), bytes_of("b"));
  EXPECT_EQ(wait_for(events, 5ms), 0u);
  EXPECT_GE(steady::now() - start, 5ms);
  EXPECT_EQ(next_message(pair.theirs), "a");
  EXPECT_EQ(next_message(pair.theirs), "b");

  // The byte it sends is the one it waits for.
  loop->notify(answer.theirs.get(), bytes_of("c"));
  EXPECT_EQ(*loop->wait(events, std::nullopt), 1u);
  EXPECT_EQ(events[0].token, 5u);
}

TEST_P(reactor_notify, delivers_at_a_wait_that_finds_its_events_without_blocking) {
  socket_pair pair;
  std::vector<socket_pair> busy(2);
  for (auto& each : busy) {
    ASSERT_TRUE(loop->watch(each.ours.get(), 1));
    say(each.theirs);
  }
  ASSERT_EQ(wait_for(std::span(events).first(1)), 1u);
  loop->notify(pair.ours.get(), bytes_of("a"));
  ASSERT_EQ(wait_for(std::span(events).first(1)), 1u);
  EXPECT_EQ(next_message(pair.theirs), "a");
}

TEST_P(reactor_notify, delivers_many_in_order_with_one_flush) {
  std::vector<socket_pair> pairs(40);
  for (int turn = 0; turn < 5; ++turn) {
    for (auto& pair : pairs) {
      loop->notify(pair.ours.get(), bytes_of("a" + std::to_string(turn)));
    }
  }
  loop->flush();
  for (auto& pair : pairs) {
    for (int turn = 0; turn < 5; ++turn) {
      EXPECT_EQ(next_message(pair.theirs), "a" + std::to_string(turn));
    }
    EXPECT_EQ(next_message(pair.theirs), "nothing");
  }
}

TEST_P(reactor_notify, sends_what_is_held_back_before_unwatch_returns) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  loop->notify(pair.ours.get(), bytes_of("last words"));
  loop->unwatch(pair.ours.get());
  pair.ours = unique_fd();
  EXPECT_EQ(next_message(pair.theirs), "last words");
}

TEST_P(reactor_notify, drops_what_does_not_fit_and_goes_on) {
  for (const int type : {SOCK_SEQPACKET, SOCK_STREAM}) {
    socket_pair full(type);
    socket_pair other(type);
    const char byte = 0;
    while (::send(full.ours.get(), &byte, 1, MSG_DONTWAIT) == 1) {
    }
    ASSERT_EQ(errno, EAGAIN);
    for (int turn = 0; turn < 100; ++turn) loop->notify(full.ours.get(), bytes_of("x"));
    loop->notify(other.ours.get(), bytes_of("y"));
    loop->flush();
    EXPECT_EQ(next_message(other.theirs), "y");
    while (hear(full.theirs) > 0) {
    }
    EXPECT_EQ(*loop->wait(events, 0ns), 0u);
    EXPECT_EQ(next_message(full.theirs), "nothing");  // dropped, not delayed
  }
}

TEST_P(reactor_notify, survives_a_dead_peer_and_what_is_no_socket) {
  for (const int type : {SOCK_SEQPACKET, SOCK_STREAM}) {
    socket_pair dead(type);
    socket_pair other(type);
    dead.theirs = unique_fd();
    for (int turn = 0; turn < 100; ++turn) loop->notify(dead.ours.get(), bytes_of("x"));
    loop->notify(-1, bytes_of("x"));
    loop->notify(STDERR_FILENO, bytes_of("x"));
    loop->notify(other.ours.get(), bytes_of("y"));
    loop->flush();  // SIGPIPE would end the test here
    EXPECT_EQ(next_message(other.theirs), "y");
    EXPECT_EQ(wait_for(events, 1ms), 0u);
  }
}

TEST_P(reactor_notify, keeps_waiting_when_a_message_is_refused) {
  socket_pair dead;
  dead.theirs = unique_fd();
  const auto start = steady::now();
  loop->notify(dead.ours.get(), bytes_of("x"));
  EXPECT_EQ(wait_for(events, 5ms), 0u);
  EXPECT_GE(steady::now() - start, 5ms);
}

}  // namespace
}  // namespace ferry
