// Coroutines that ask, send and receive, and what becomes of it when they are destroyed meanwhile.
#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

class channel_awaiting : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_awaiting, all_transports(), transport_name);

// Receives once. What it leaves in `got` says how far it came.
task<> receive_once(channel& over, std::string& got) {
  got = "waits";
  const auto next = co_await over.co_receive();
  got = next ? next->function : next.error().message();
}
task<> ask_once(channel& over, message what, std::string& got) {
  got = "waits";
  got = text_of(co_await over.co_request(std::move(what), generous));
}
task<> send_once(channel& over, message what, std::string& got) {
  got = "waits";
  const auto sent = co_await over.co_send(std::move(what));
  got = sent ? "sent" : sent.error().message();
}

// Drives the near end until `done()` holds.
template <class Done>
bool driven_until(const channel_ends& ends, Done done) {
  return eventually([&] {
    (void)ends.near->loop().run_once(1ms);
    return done();
  });
}

TEST_P(channel_awaiting, coroutines_ask_and_receive) {
  channel_ends ends(GetParam());
  ends.echo();
  std::string all;
  const auto talk = [&]() -> task<> {
    for (int i = 0; i < 3; ++i) {
      auto answer = co_await ends.near->co_request(
          execution_request("f", payload::copy_of(std::to_string(i))), generous);
      all += text_of(answer);
    }
    EXPECT_TRUE(co_await ends.near->co_send(ack()));
    all += text_of(co_await ends.near->co_receive());
  };
  ASSERT_TRUE(ends.far->send(execution_request("", payload::copy_of(" pushed"))));
  ends.near->loop().run(talk());
  EXPECT_EQ(all, "012 pushed");
}

TEST_P(channel_awaiting, destroyed_receiver_takes_no_message) {
  channel_ends ends(GetParam());
  std::string first, second, third;
  spawned one = start(receive_once(*ends.near, first));
  spawned other = start(receive_once(*ends.near, second));
  spawned last = start(receive_once(*ends.near, third));
  ASSERT_TRUE(ends.near->loop().run_once(1ms));
  other = {};
  for (const char* const name : {"a", "b", "c", "d"}) {
    ASSERT_TRUE(ends.far->send(execution_request(name)));
  }
  ASSERT_TRUE(driven_until(ends, [&] { return third != "waits"; }));
  EXPECT_EQ(first, "a");
  EXPECT_EQ(second, "waits");
  EXPECT_EQ(third, "b");
  EXPECT_EQ(ends.near->receive(generous)->function, "c");
  EXPECT_EQ(ends.near->receive(generous)->function, "d");
}

TEST_P(channel_awaiting, receiver_that_is_destroyed_by_another_takes_no_message) {
  channel_ends ends(GetParam());
  std::string first, second;
  spawned victim;
  const auto destroys = [&]() -> task<> {
    co_await receive_once(*ends.near, first);
    victim = {};  // while both messages may lie there
  };
  spawned killer = start(destroys());
  victim = start(receive_once(*ends.near, second));
  for (const char* const name : {"a", "b"}) ASSERT_TRUE(ends.far->send(execution_request(name)));
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().messages_sent == 2; }));
  ASSERT_TRUE(driven_until(ends, [&] { return killer.done(); }));
  EXPECT_EQ(first, "a");
  EXPECT_EQ(second, "waits");
  EXPECT_EQ(ends.near->receive(generous)->function, "b");
}

TEST_P(channel_awaiting, destroyed_asker_gives_its_request_up) {
  mailbox<std::uint64_t> came, given_up;
  channel_ends ends(GetParam());
  ends.far->on_cancel([&](std::uint64_t id) { given_up.put(id); });
  ends.far->on_message([&](message&& asked) { came.put(asked.request_id); });
  std::string answer;
  // From ordinary code, and in a callback.
  for (const bool inside : {false, true}) {
    spawned asking;
    const auto ask = [&] { asking = start(ask_once(*ends.near, execution_request("f"), answer)); };
    const auto stop = [&] { asking = {}; };
    const auto act = [&](auto what) {
      if (!inside) return what();
      bool done = false;
      ends.near->loop().post([&] {
        what();
        done = true;
      });
      EXPECT_TRUE(driven_until(ends, [&] { return done; }));
    };
    act(ask);
    std::optional<std::uint64_t> id;
    ASSERT_TRUE(driven_until(ends, [&] { return (id = came.take(0ns)).has_value(); }));
    EXPECT_EQ(ends.near->get_stats().requests_in_flight, 1u);
    act(stop);
    EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
    ASSERT_TRUE(driven_until(
        ends, [&] { return ends.far->get_stats().cancels_received == (inside ? 2u : 1u); }));
    EXPECT_EQ(given_up.take(), id);
    // A late answer is nobody's.
    ASSERT_TRUE(ends.far->reply(*id, execution_success()));
    ASSERT_TRUE(driven_until(
        ends, [&] { return ends.near->get_stats().late_answers == (inside ? 2u : 1u); }));
    EXPECT_EQ(answer, "waits");
  }
  EXPECT_EQ(ends.near->get_stats().cancels_sent, 2u);
  EXPECT_EQ(ends.near->get_stats().timeout_errors, 0u);
  ends.far->on_message([](message&&) {});
  ends.far->on_cancel([](std::uint64_t) {});
}

TEST_P(channel_awaiting, those_that_wait_may_be_destroyed_while_another_thread_drives) {
  auto driver = loop_thread::start();
  ASSERT_TRUE(driver);
  channel_options near_options;
  near_options.loop = driver->loop();
  std::string got, answer;
  channel_ends ends(GetParam(), near_options);
  for (std::uint64_t round = 1; round <= 20; ++round) {
    spawned receiver = start(receive_once(*ends.near, got));
    spawned asker = start(ask_once(*ends.near, execution_request("f"), answer));
    ASSERT_TRUE(eventually([&] { return ends.far->get_stats().messages_received == round; }));
    receiver = {};
    asker = {};
    EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
    ASSERT_TRUE(ends.far->send(execution_request("next")));
    EXPECT_EQ(ends.near->receive(generous)->function, "next");
    EXPECT_EQ(got, "waits");
    EXPECT_EQ(answer, "waits");
  }
  EXPECT_EQ(ends.near->get_stats().cancels_sent, 20u);
}

TEST_P(channel_awaiting, what_waits_for_room_goes_with_its_coroutine) {
  std::atomic<std::size_t> came{0}, gone{0};
  std::atomic<bool> all{false};
  channel_options small, deaf;
  small.outbox_bytes = 64 << 10;
  small.session.ring_bytes = 8192;
  small.session.inline_limit = 512;
  deaf.inbox_messages = 1;
  channel_ends ends(GetParam(), small, deaf);
  loop near_loop = ends.near->loop();
  const std::vector<std::byte> body(100'000);
  const auto named = [&](const char* name) {
    return execution_request(name, payload::copy_of(body));
  };
  // Everything that is taken, and behind it what waits.
  std::vector<std::string> outcomes(300);
  std::vector<spawned> sending;
  for (std::string& each : outcomes) {
    sending.push_back(start(send_once(*ends.near, named("kept"), each)));
  }
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(near_loop.run_once(1ms));
  ASSERT_EQ(outcomes.back(), "waits");
  std::string sent, answer;
  spawned sender = start(send_once(*ends.near, named("gone"), sent));
  spawned asker = start(ask_once(*ends.near, named("gone"), answer));
  std::string kept;
  spawned last = start(send_once(*ends.near, named("last"), kept));
  sender = {};
  asker = {};
  EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
  EXPECT_EQ(ends.near->get_stats().cancels_sent, 0u);  // the peer never heard of it
  ends.far->on_message([&](message&& what) {
    came += what.function == "kept";
    gone += what.function == "gone";
    if (what.function == "last") all = true;
  });
  ASSERT_TRUE(driven_until(ends, [&] { return all.load(); }));
  EXPECT_EQ(came, outcomes.size());
  EXPECT_EQ(gone, 0u);
  EXPECT_EQ(sent, "waits");
  EXPECT_EQ(answer, "waits");
  ends.far->on_message([](message&&) {});
}

TEST_P(channel_awaiting, coroutines_that_wait_may_be_destroyed_behind_their_channel) {
  std::string got, answer;
  spawned receiver, asker;
  {
    channel_ends ends(GetParam());
    receiver = start(receive_once(*ends.near, got));
    asker = start(ask_once(*ends.near, execution_request("f"), answer));
  }
  const channel_error ours(errc::closed, "this side closed the channel");
  EXPECT_EQ(got, ours.message());
  EXPECT_EQ(answer, "error: " + ours.message());
}

}  // namespace
}  // namespace ferry
