// What waits on a channel: for room, for time, for the other end to be told.
#include <poll.h>

#include <fstream>
#include <thread>

#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

using steady = std::chrono::steady_clock;

class channel_waiting : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_waiting, all_transports(), transport_name);
class channel_outbox : public over_each_transport {};  // where outbox_bytes is the limit
INSTANTIATE_TEST_SUITE_P(each, channel_outbox,
                         testing::Values<std::string>("unix", "tcp", "tls", "memory"),
                         transport_name);

// Nobody receives at the far end, so little is read there.
struct deaf_ends : channel_ends {
  explicit deaf_ends(const std::string& transport)
      : channel_ends(transport, with_outbox(64 << 10), with_inbox(1)) {}
  message large_request() const { return execution_request("f", payload::copy_of(body)); }

 private:
  static channel_options with_outbox(std::uint64_t bytes) {
    channel_options options;
    options.outbox_bytes = bytes;
    return options;
  }
  static channel_options with_inbox(std::uint32_t messages) {
    channel_options options;
    options.inbox_messages = messages;
    return options;
  }
  std::vector<std::byte> body = std::vector<std::byte>(100'000);
};

loop make_loop() {
  auto made = loop::create();
  EXPECT_TRUE(made);
  return *made;
}

channel_options on(const loop& driven_by) {
  channel_options options;
  options.loop = driven_by;
  return options;
}

// Runs the loop until `done()` holds.
template <class Done>
bool run_until(loop& driven_by, Done done) {
  const auto deadline = steady::now() + generous;
  while (!done()) {
    if (steady::now() > deadline || !driven_by.run_once(10ms)) return false;
  }
  return true;
}

// Long enough without news for all of it to sleep.
void let_sleep(loop& driven_by) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(driven_by.run_once(20ms));
}

TEST_P(channel_waiting, deadlines_of_a_channel_that_sleeps_beside_others) {
  loop shared = make_loop();
  channel_ends one(GetParam(), on(shared)), other(GetParam(), on(shared));
  let_sleep(shared);
  errc outcome{};
  ASSERT_TRUE(one.near->request_async(execution_request("never"), 50ms,
                                      [&](message_result&& how) { outcome = code_of(how); }));
  EXPECT_TRUE(run_until(shared, [&] { return outcome != errc{}; }));
  EXPECT_EQ(outcome, errc::timeout);
  let_sleep(shared);
  std::atomic<errc> second{};
  std::thread asks([&] {  // while it is slept
    ::usleep(50'000);
    EXPECT_TRUE(one.near->request_async(execution_request("never"), 50ms,
                                        [&](message_result&& how) { second = code_of(how); }));
  });
  const auto deadline = steady::now() + generous;
  while (second.load() == errc{} && steady::now() < deadline) ASSERT_TRUE(shared.run_once(10s));
  asks.join();
  EXPECT_EQ(second.load(), errc::timeout);
}

TEST_P(channel_outbox, requests_that_expire_unsent_are_never_sent) {
  deaf_ends ends(GetParam());
  constexpr int asked = 200;
  int timeouts = 0;
  for (int i = 0; i < asked; ++i) {
    ASSERT_TRUE(ends.near->request_async(ends.large_request(), 50ms, [&](message_result&& how) {
      timeouts += code_of(how) == errc::timeout;
    }));
  }
  loop near_loop = ends.near->loop();
  EXPECT_TRUE(run_until(near_loop, [&] { return timeouts == asked; }));
  const auto sent = ends.near->get_stats().messages_sent;
  EXPECT_LT(sent, static_cast<std::uint64_t>(asked));
  EXPECT_EQ(ends.near->get_stats().cancels_sent, sent);  // one for each that left
  // The far end reads again: it finds no request behind those.
  ends.far->on_message([](message&&) {});
  ASSERT_TRUE(ends.near->send_async(execution_request("last"), [](send_result&&) {}));
  EXPECT_TRUE(run_until(near_loop, [&] {
    return ends.far->get_stats().cancels_received == sent &&
           ends.near->get_stats().messages_sent == sent + 1;
  }));
}

TEST_P(channel_outbox, requests_that_never_left_did_not_run_when_the_link_ends) {
  deaf_ends ends(GetParam());
  constexpr std::uint64_t asked = 200;
  std::uint64_t ended = 0, perhaps = 0;
  for (std::uint64_t i = 0; i < asked; ++i) {
    ASSERT_TRUE(ends.near->request_async(ends.large_request(), generous, [&](message_result&& how) {
      ++ended;
      ASSERT_FALSE(how);
      perhaps += how.error().maybe_executed;
    }));
  }
  loop near_loop = ends.near->loop();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(near_loop.run_once(1ms));
  ends.far->close();
  EXPECT_TRUE(run_until(near_loop, [&] { return ended == asked; }));
  EXPECT_EQ(perhaps, ends.near->get_stats().messages_sent);
  EXPECT_LT(perhaps, asked);
}

// How often a thread of this process went to sleep.
long sleeps_of(pid_t thread) {
  std::ifstream lines("/proc/self/task/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("voluntary_ctxt_switches:")) return std::stol(line.substr(24));
  }
  return -1;
}

TEST_P(channel_waiting, an_idle_end_sleeps_through_what_its_peer_says_to_others) {
  loop shared = make_loop();
  channel_ends idle(GetParam(), on(shared)), busy(GetParam(), on(shared));
  busy.echo();
  mailbox<pid_t> id;
  idle.far->loop().post([&] { id.put(::gettid()); });
  const auto thread = id.take();
  ASSERT_TRUE(thread);
  idle.far->on_message([](message&&) {});
  for (int round = 0; round < 5; ++round) {
    let_sleep(shared);
    ASSERT_TRUE(idle.near->send_async(execution_request("wake up"), [](send_result&&) {}));
    const long before = sleeps_of(*thread);
    for (const auto until = steady::now() + 100ms; steady::now() < until;) {
      ASSERT_TRUE(busy.near->request(execution_request("f")));
    }
    EXPECT_LT(sleeps_of(*thread) - before, 50);
  }
  EXPECT_EQ(idle.far->get_stats().messages_received, 5u);
}

TEST_P(channel_waiting, everything_that_came_is_handed_out_to_a_host_that_polls) {
  loop mine = make_loop();
  channel_ends ends(GetParam(), on(mine));
  constexpr int count = 3'000;  // many frames fit into one read
  int got = 0;
  ends.near->on_message([&](message&&) { ++got; });
  ASSERT_TRUE(mine.run_once());
  std::thread sends([&] {
    for (int i = 0; i < count; ++i) EXPECT_TRUE(ends.far->send(execution_request("")));
  });
  const auto deadline = steady::now() + generous;
  while (got < count && steady::now() < deadline) {
    pollfd watched{mine.fd(), POLLIN, 0};
    if (::poll(&watched, 1, 5'000) == 0) break;  // nothing to do, it says
    ASSERT_TRUE(mine.run_once());
  }
  EXPECT_EQ(got, count);
  sends.join();
}

TEST_P(channel_waiting, what_waits_for_its_turn_goes_before_the_farewell) {
  channel_ends ends(GetParam());
  constexpr int count = 100;
  int told = 0;
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(ends.near->send_async(execution_request("", payload::copy_of(std::to_string(i))),
                                      [&](send_result&& how) { told += how.has_value(); }));
  }
  ends.near->close();
  EXPECT_EQ(told, count);
  for (int i = 0; i < count; ++i) {
    EXPECT_EQ(text_of(ends.far->receive(generous)), std::to_string(i));
  }
  EXPECT_EQ(code_of(ends.far->receive(generous)), errc::closed);
  EXPECT_EQ(ends.near->send_async(execution_request(""), [](send_result&&) {}).error().code,
            errc::closed);
}

TEST_P(channel_waiting, one_that_sends_without_end_leaves_the_loop_to_others) {
  bool stop = false, stopped = false;
  int sent = 0;
  std::function<void()> again;
  loop shared = make_loop();
  channel_ends busy(GetParam(), on(shared)), other(GetParam(), on(shared));
  busy.far->on_message([](message&&) {});
  other.echo();
  again = [&] {
    stopped = stop;
    if (stop) return;
    (void)busy.near->send_async(execution_request(""), [&](send_result&&) {
      ++sent;
      again();
    });
  };
  again();
  for (int i = 0; i < 5; ++i) {
    bool answered = false;
    ASSERT_TRUE(
        other.near->request_async(execution_request("f"), generous, [&](message_result&& how) {
          EXPECT_TRUE(how);
          answered = true;
        }));
    EXPECT_TRUE(run_until(shared, [&] { return answered; }));
  }
  stop = true;
  EXPECT_GT(sent, 0);
  EXPECT_TRUE(run_until(shared, [&] { return stopped; }));
}

TEST(channel_waiting_memory, both_ends_may_be_on_one_loop) {
  loop shared = make_loop();
  auto both = memory_channel_pair(test_instance(), on(shared), on(shared));
  ASSERT_TRUE(both);
  const channel_ptr near = both->first, far = both->second;
  std::string got;
  far->on_message([&](message&& what) { got = what.data.text(); });
  let_sleep(shared);
  shared.post([near] {  // on the thread that drives, while the other end sleeps
    EXPECT_TRUE(near->send(execution_request("", payload::copy_of(std::string_view("in")))));
  });
  EXPECT_TRUE(run_until(shared, [&] { return got == "in"; }));
  let_sleep(shared);
  near->close();
  EXPECT_TRUE(run_until(shared, [&] { return far->failure().has_value(); }));
}

}  // namespace
}  // namespace ferry
