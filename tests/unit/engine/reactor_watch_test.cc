#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "tests/unit/engine/reactor_fixture.h"

namespace ferry {
namespace {

using reactor_watch = on_each_reactor;
FERRY_ON_EACH_REACTOR(reactor_watch);

TEST_P(reactor_watch, reports_a_readable_descriptor_until_it_has_been_read) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 0xfedcba9876543210u));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  say(pair.theirs);
  for (int turn = 0; turn < 3; ++turn) {
    ASSERT_EQ(wait_for(events), 1u) << turn;
    EXPECT_EQ(events[0].token, 0xfedcba9876543210u);
    EXPECT_TRUE(events[0].readable);
    EXPECT_FALSE(events[0].hung_up);
  }
  EXPECT_EQ(hear(pair.ours), 1);
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  say(pair.theirs);
  EXPECT_EQ(wait_for(events), 1u);
}

TEST_P(reactor_watch, reports_data_that_was_there_before_the_watch) {
  socket_pair pair;
  say(pair.theirs);
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 1u);
}

TEST_P(reactor_watch, reports_a_hang_up_and_the_data_sent_before_it) {
  for (const int type : {SOCK_SEQPACKET, SOCK_STREAM}) {
    socket_pair pair(type);
    ASSERT_TRUE(loop->watch(pair.ours.get(), 9));
    say(pair.theirs);
    pair.theirs = unique_fd();
    ASSERT_EQ(wait_for(events), 1u);
    EXPECT_TRUE(events[0].readable);
    EXPECT_TRUE(events[0].hung_up);
    EXPECT_EQ(hear(pair.ours), 1);
    ASSERT_EQ(wait_for(events), 1u);
    EXPECT_TRUE(events[0].hung_up);
    loop->unwatch(pair.ours.get());
  }
}

TEST_P(reactor_watch, reports_a_peer_that_stops_sending_as_readable_only) {
  socket_pair pair(SOCK_STREAM);
  ASSERT_TRUE(loop->watch(pair.ours.get(), 9));
  ASSERT_EQ(::shutdown(pair.theirs.get(), SHUT_WR), 0);
  ASSERT_EQ(wait_for(events), 1u);
  EXPECT_TRUE(events[0].readable);
  EXPECT_FALSE(events[0].hung_up);
  EXPECT_EQ(hear(pair.ours), 0);
}

TEST_P(reactor_watch, reports_the_end_of_a_process_through_its_pipe) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  unique_fd reader(ends[0]);
  unique_fd writer(ends[1]);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  writer = unique_fd();
  ASSERT_TRUE(loop->watch(reader.get(), 3));
  ASSERT_EQ(wait_for(events), 1u);
  EXPECT_TRUE(events[0].hung_up);
  EXPECT_FALSE(events[0].readable);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

TEST_P(reactor_watch, gives_no_event_after_unwatch_even_if_one_was_waiting) {
  socket_pair first;
  socket_pair second;
  ASSERT_TRUE(loop->watch(first.ours.get(), 1));
  ASSERT_TRUE(loop->watch(second.ours.get(), 2));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);  // both are armed now
  say(first.theirs);
  say(second.theirs);
  ASSERT_EQ(wait_for(std::span(events).first(1)), 1u);  // the other one is known but held back
  const bool first_seen = events[0].token == 1;
  loop->unwatch(first_seen ? second.ours.get() : first.ours.get());
  for (int turn = 0; turn < 3; ++turn) {
    ASSERT_EQ(wait_for(events), 1u);
    EXPECT_EQ(events[0].token, first_seen ? 1u : 2u);
  }
  loop->unwatch(first.ours.get());
  loop->unwatch(second.ours.get());
  loop->unwatch(second.ours.get());  // once more does no harm
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
}

TEST_P(reactor_watch, gives_no_stale_event_to_the_next_user_of_a_descriptor_number) {
  for (int turn = 0; turn < 100; ++turn) {
    socket_pair old_pair;
    const int number = old_pair.ours.get();
    ASSERT_TRUE(loop->watch(number, 1));
    EXPECT_EQ(*loop->wait(events, 0ns), 0u);
    say(old_pair.theirs);  // completes the old poll
    loop->unwatch(number);
    old_pair.ours = unique_fd();

    socket_pair new_pair;
    ASSERT_EQ(::dup2(new_pair.ours.get(), number), number);
    unique_fd reused(number);
    ASSERT_TRUE(loop->watch(number, 2));
    ASSERT_EQ(*loop->wait(events, 0ns), 0u) << turn;
    say(new_pair.theirs);
    ASSERT_EQ(wait_for(events), 1u);
    EXPECT_EQ(events[0].token, 2u);
    loop->unwatch(number);
  }
}

TEST_P(reactor_watch, watches_again_a_number_that_was_closed_without_unwatch) {
  socket_pair old_pair;
  socket_pair new_pair;
  const int number = old_pair.ours.get();
  ASSERT_TRUE(loop->watch(number, 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  ASSERT_EQ(::dup2(new_pair.ours.get(), number), number);
  ASSERT_TRUE(loop->watch(number, 2));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  say(new_pair.theirs);
  ASSERT_EQ(wait_for(events), 1u);
  EXPECT_EQ(events[0].token, 2u);
}

TEST_P(reactor_watch, lets_go_of_a_file_so_that_the_peer_sees_it_closed) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);  // armed
  loop->unwatch(pair.ours.get());
  pair.ours = unique_fd();
  EXPECT_TRUE(poll_outside(pair.theirs.get(), generous) & POLLHUP);
}

TEST_P(reactor_watch, lets_go_of_a_file_when_the_thread_that_waited_is_busy_computing) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  std::promise<void> armed;
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    EXPECT_EQ(*loop->wait(events, 0ns), 0u);
    armed.set_value();
    while (!stop.load()) {
    }
  });
  armed.get_future().wait();
  loop->unwatch(pair.ours.get());
  pair.ours = unique_fd();
  EXPECT_TRUE(poll_outside(pair.theirs.get(), generous) & POLLHUP);
  stop = true;
  busy.join();
}

TEST_P(reactor_watch, lets_go_of_its_files_when_destroyed) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  loop.reset();
  pair.ours = unique_fd();
  EXPECT_TRUE(poll_outside(pair.theirs.get(), generous) & POLLHUP);
}

TEST_P(reactor_watch, serves_200_descriptors_at_once_and_starves_none) {
  std::vector<socket_pair> pairs(200);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ASSERT_TRUE(loop->watch(pairs[i].ours.get(), i));
  }
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  for (auto& pair : pairs) say(pair.theirs);
  std::set<std::uint64_t> seen;
  for (std::size_t turn = 0; turn < 2 * pairs.size() && seen.size() < pairs.size(); ++turn) {
    const std::size_t count = wait_for(std::span(events).first(7));
    ASSERT_GT(count, 0u);
    for (const auto& event : std::span(events).first(count)) seen.insert(event.token);
  }
  EXPECT_EQ(seen.size(), pairs.size());
  for (auto& pair : pairs) EXPECT_EQ(hear(pair.ours), 1);
  for (auto& pair : pairs) loop->unwatch(pair.ours.get());
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
}

TEST_P(reactor_watch, does_not_block_while_an_event_waits_to_be_handed_out) {
  std::vector<socket_pair> pairs(3);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ASSERT_TRUE(loop->watch(pairs[i].ours.get(), i));
    say(pairs[i].theirs);
  }
  for (int turn = 0; turn < 9; ++turn) {
    EXPECT_EQ(*loop->wait(std::span(events).first(1), std::nullopt), 1u);
  }
}

TEST_P(reactor_watch, reports_two_tokens_for_two_copies_of_a_descriptor) {
  socket_pair pair;
  unique_fd copy(::dup(pair.ours.get()));
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  ASSERT_TRUE(loop->watch(copy.get(), 2));
  say(pair.theirs);
  EXPECT_EQ(wait_for(events), 2u);
  loop->unwatch(copy.get());
  ASSERT_EQ(wait_for(events), 1u);
  EXPECT_EQ(events[0].token, 1u);
}

TEST_P(reactor_watch, refuses_what_cannot_be_watched) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(loop->watch(pair.ours.get(), 2).error().code, errc::bad_argument);
  EXPECT_EQ(loop->watch(-1, 3).error().sys_errno, EBADF);
  unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(loop->watch(null.get(), 4).error().sys_errno, EPERM);
  EXPECT_EQ(loop->wait({}, 0ns).error().code, errc::bad_argument);
  say(pair.theirs);
  ASSERT_EQ(wait_for(events), 1u);  // and the first watch stands
  EXPECT_EQ(events[0].token, 1u);
}

TEST_P(reactor_watch, wakes_for_a_byte_from_another_thread) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  std::thread sender([&] { say(pair.theirs); });
  std::size_t count = 0;
  while (count == 0) count = *loop->wait(events, std::nullopt);
  EXPECT_EQ(count, 1u);
  sender.join();
}

TEST_P(reactor_watch, wakes_for_a_byte_from_another_process) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);  // so that the child is forked from an armed reactor
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const char byte = 0;
    ::_exit(::send(pair.theirs.get(), &byte, 1, MSG_NOSIGNAL) == 1 ? 0 : 1);
  }
  std::size_t count = 0;
  while (count == 0) count = *loop->wait(events, std::nullopt);
  EXPECT_EQ(count, 1u);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(reactor_watch, outlives_a_forked_child_that_destroys_its_copy) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  EXPECT_EQ(*loop->wait(events, 0ns), 0u);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    loop.reset();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  say(pair.theirs);
  EXPECT_EQ(wait_for(events), 1u);
}

TEST_P(reactor_watch, moves_between_threads) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  for (int turn = 0; turn < 20; ++turn) {
    std::thread([&] {
      EXPECT_EQ(*loop->wait(events, 0ns), 0u);  // arms, and then the thread is gone
    }).join();
    say(pair.theirs);
    std::thread([&] {
      EXPECT_EQ(wait_for(events), 1u);
      EXPECT_TRUE(events[0].readable);
      EXPECT_FALSE(events[0].hung_up);
    }).join();
    EXPECT_EQ(wait_for(events), 1u);
    EXPECT_EQ(hear(pair.ours), 1);
    // What was known when it moved may be out of date once; no event may be lost.
    while (*loop->wait(events, 0ns) != 0) {
    }
  }
}

TEST_P(reactor_watch, is_not_held_up_by_the_thread_that_waited_last) {
  std::vector<socket_pair> pairs(100);  // more than one submission can cancel
  for (auto& pair : pairs) ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  unique_fd reader(ends[0]);
  unique_fd writer(ends[1]);
  std::promise<void> armed;
  std::thread stuck([&] {
    EXPECT_EQ(*loop->wait(events, 0ns), 0u);
    armed.set_value();
    // Until its child is gone, a thread in vfork() does nothing else, not even for the kernel.
    const pid_t child = ::vfork();
    if (child == 0) {
      char byte;
      ::_exit(::read(reader.get(), &byte, 1) == 1 ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
  });
  armed.get_future().wait();
  std::thread sender([&] { say(pairs[77].theirs); });
  EXPECT_EQ(wait_for(events), 1u);
  sender.join();
  EXPECT_EQ(::write(writer.get(), "x", 1), 1);
  stuck.join();
}

TEST_P(reactor_watch, returns_zero_when_a_signal_interrupts_it) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  std::atomic<bool> returned = false;
  const pthread_t waiter = ::pthread_self();
  std::thread nagger([&] {
    while (!returned.load()) {  // again and again: the first may come before the wait begins
      ::pthread_kill(waiter, SIGUSR1);
      std::this_thread::yield();
    }
  });
  const auto count = loop->wait(events, std::nullopt);
  returned = true;
  nagger.join();
  ASSERT_TRUE(count) << count.error().message();
  EXPECT_EQ(*count, 0u);
  say(pair.theirs);
  EXPECT_EQ(wait_for(events), 1u);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_P(reactor_watch, makes_fd_readable_for_data_that_arrives_later) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  const int outside = loop->fd();
  for (int turn = 0; turn < 20; ++turn) {
    EXPECT_EQ(poll_outside(outside, 0ms), 0);
    std::thread sender([&] { say(pair.theirs); });
    EXPECT_EQ(poll_outside(outside, generous), POLLIN);
    EXPECT_EQ(wait_for(events), 1u);
    EXPECT_EQ(poll_outside(outside, 0ms), POLLIN);  // not read yet
    EXPECT_EQ(hear(pair.ours), 1);
    sender.join();
  }
  EXPECT_EQ(loop->fd(), outside);
}

TEST_P(reactor_watch, makes_fd_readable_for_what_is_watched_after_it_was_asked_for) {
  const int outside = loop->fd();
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  std::thread sender([&] { say(pair.theirs); });
  EXPECT_EQ(poll_outside(outside, generous), POLLIN);
  sender.join();
  loop->unwatch(pair.ours.get());
  EXPECT_EQ(poll_outside(outside, 0ms), 0);
}

TEST_P(reactor_watch, makes_fd_readable_while_the_thread_that_waited_is_busy_computing) {
  socket_pair pair;
  ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
  const int outside = loop->fd();
  std::promise<void> armed;
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    EXPECT_EQ(*loop->wait(events, 0ns), 0u);
    armed.set_value();
    while (!stop.load()) {
    }
  });
  armed.get_future().wait();
  std::thread sender([&] { say(pair.theirs); });
  EXPECT_EQ(poll_outside(outside, generous), POLLIN);
  sender.join();
  stop = true;
  busy.join();
}

TEST_P(reactor_watch, takes_no_more_descriptors_however_often_it_is_used) {
  socket_pair pair;
  const int lowest_free = unique_fd(::eventfd(0, EFD_CLOEXEC)).get();
  for (int turn = 0; turn < 2000; ++turn) {
    ASSERT_TRUE(loop->watch(pair.ours.get(), 1));
    say(pair.theirs);
    ASSERT_EQ(wait_for(events), 1u);
    ASSERT_EQ(hear(pair.ours), 1);
    loop->notify(pair.ours.get(), std::as_bytes(std::span("x", 1)));
    loop->unwatch(pair.ours.get());
    ASSERT_EQ(hear(pair.theirs), 1);
  }
  EXPECT_EQ(unique_fd(::eventfd(0, EFD_CLOEXEC)).get(), lowest_free);
}

}  // namespace
}  // namespace ferry
