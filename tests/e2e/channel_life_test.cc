// How channels begin, count, beat, fail and end.
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

using steady = std::chrono::steady_clock;

class channel_life : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_life, all_transports(), transport_name);
class channel_links : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_links, connecting_transports(), transport_name);

TEST_P(channel_life, close_ends_each_waiter_exactly_once_while_answers_come) {
  channel_options small;
  small.inbox_messages = 4;
  channel_ends ends(GetParam(), {}, small);
  constexpr int pending = 200;
  std::vector<std::atomic<int>> ended(pending);
  for (auto& each : ended) {
    ASSERT_TRUE(ends.near->request_async(execution_request("f"), generous,
                                         [&](message_result&&) { ++each; }));
  }
  std::vector<std::thread> waiting;
  std::atomic<int> receivers{0}, askers{0}, senders{0};
  for (int i = 0; i < 3; ++i) {
    waiting.emplace_back([&] { receivers += code_of(ends.near->receive()) == errc::closed; });
    waiting.emplace_back([&] {
      askers +=
          code_of(ends.near->request(execution_request("f"), channel::no_limit)) == errc::closed;
    });
    waiting.emplace_back([&] {  // until nobody takes any more
      const std::vector<std::byte> body(10'000);
      send_result sent;
      while (sent) sent = ends.near->send(execution_request("", payload::copy_of(body)));
      EXPECT_EQ(sent.error().code, errc::closed) << sent.error().message();
      ++senders;
    });
  }
  // The far end answers some, while it all ends.
  std::thread server([&] {
    for (int i = 0; i < pending / 2; ++i) {
      auto asked = ends.far->receive(generous);
      if (!asked) return;
      if (asked->request_id != 0)
        (void)ends.far->reply(*asked, ack(), {.wait = false, .timeout = {}});
    }
  });
  ASSERT_TRUE(eventually([&] { return ends.near->get_stats().messages_received >= 10; }));
  const auto began = steady::now();
  ends.near->close();
  for (auto& each : waiting) each.join();
  EXPECT_LT(steady::now() - began, generous);
  server.join();
  EXPECT_EQ(receivers, 3);
  EXPECT_LE(askers, 3);  // one may have been answered
  EXPECT_EQ(senders, 3);
  for (const auto& each : ended) EXPECT_EQ(each, 1);
  EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
}

TEST_P(channel_life, close_ends_all_that_waits_at_once_and_may_be_repeated) {
  channel_ends ends(GetParam());
  std::vector<std::string> outcomes;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(
        ends.near->request_async(execution_request("never"), generous,
                                 [&](message_result&& how) { outcomes.push_back(text_of(how)); }));
  }
  std::string waiting;
  std::thread receiver([&] { waiting = text_of(ends.near->receive(generous)); });
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().messages_received == 50; }));
  const auto began = steady::now();
  ends.near->close();
  const auto took = steady::now() - began;
  receiver.join();
  const channel_error ours(errc::closed, "this side closed the channel");
  EXPECT_EQ(outcomes, std::vector<std::string>(50, "error: " + ours.message()));
  EXPECT_EQ(waiting, "error: " + ours.message());
  ASSERT_TRUE(ends.near->failure());
  EXPECT_EQ(ends.near->failure()->message(), ours.message());
  EXPECT_LT(took, 2s);  // it waits for nobody: on an idle machine 10 ms are plenty
  EXPECT_FALSE(ends.near->is_connected());
  ends.near->close();
  EXPECT_EQ(code_of(ends.near->send(ack())), errc::closed);
  EXPECT_EQ(code_of(ends.near->request(ack(), 1s)), errc::closed);
  EXPECT_EQ(code_of(ends.near->receive(1s)), errc::closed);
  // The other side learns why.
  ASSERT_TRUE(eventually([&] { return ends.far->failure().has_value(); }));
  EXPECT_FALSE(ends.far->is_connected());
  EXPECT_EQ(ends.far->failure()->code, errc::closed);
  EXPECT_EQ(ends.far->failure()->text, "the peer closed the channel");
  EXPECT_EQ(ends.far->get_stats().connection_errors, 0u);
  // So do those who wait there, behind what had come before.
  for (int i = 0; i < 50; ++i) ASSERT_EQ(ends.far->receive(generous)->function, "never");
  EXPECT_EQ(code_of(ends.far->receive(generous)), errc::closed);
  EXPECT_EQ(code_of(ends.far->send(ack())), errc::closed);
}

// What is queued may take its time to leave, the requests may not: from a thread, in a callback.
TEST_P(channel_life, close_ends_requests_at_once_though_the_peer_does_not_read) {
  for (const bool inside : {false, true}) {
    SCOPED_TRACE(inside);
    std::atomic<int> ended{0}, executed{0}, told{0};
    std::atomic<std::size_t> arrived{0}, unwanted{0};
    channel_options small, deaf;
    small.outbox_bytes = 64 << 10;
    small.session.ring_bytes = 8192;
    small.session.inline_limit = 512;
    small.flush_timeout = generous;
    deaf.inbox_messages = 1;
    channel_ends ends(GetParam(), small, deaf);
    const auto ask = [&](const char* name) {
      return ends.near->request_async(execution_request(name), channel::no_limit,
                                      [&](message_result&& how) {
                                        EXPECT_EQ(code_of(how), errc::closed);
                                        executed += !how && how.error().maybe_executed;
                                        ++ended;
                                      });
    };
    ASSERT_TRUE(ask("left"));
    ASSERT_TRUE(eventually([&] { return ends.far->get_stats().messages_received == 1; }));
    constexpr std::size_t count = 300;
    const std::vector<std::byte> body(100'000);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(ends.near->send_async(execution_request("kept", payload::copy_of(body)),
                                        [&](send_result&& how) { told += how.has_value(); }));
    }
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(ends.near->loop().run_once(1ms));
    ASSERT_TRUE(ask("unsent"));
    ASSERT_EQ(ended, 0);
    std::thread asker([&] {
      EXPECT_EQ(code_of(ends.near->request(execution_request("unsent"), channel::no_limit)),
                errc::closed);
      ++ended;
    });
    ASSERT_TRUE(eventually([&] { return ends.near->get_stats().requests_in_flight == 3; }));
    const auto began = steady::now();
    std::thread closer;
    if (inside) {
      ends.near->loop().post([&] {
        ends.near->close();
        EXPECT_EQ(ended, 0);  // not from within
      });
    } else {
      closer = std::thread([&] { ends.near->close(); });
    }
    EXPECT_TRUE(eventually([&] {
      if (inside) (void)ends.near->loop().run_once(1ms);
      return ended == 3;
    }));
    EXPECT_LT(steady::now() - began, generous / 6);  // of an idle machine, 10 ms
    asker.join();
    EXPECT_EQ(executed, 1);              // those that have not left did not run
    EXPECT_FALSE(ends.near->failure());  // it flushes
    ends.far->on_message([&](message&& what) {
      arrived += what.function == "kept";
      unwanted += what.function == "unsent";
    });
    EXPECT_TRUE(eventually([&] {
      if (inside) (void)ends.near->loop().run_once(1ms);
      return ends.near->failure().has_value();
    }));
    if (closer.joinable()) closer.join();
    EXPECT_EQ(told, static_cast<int>(count));
    EXPECT_TRUE(eventually([&] { return ends.far->failure().has_value(); }));
    EXPECT_EQ(arrived, count);
    EXPECT_EQ(unwanted, 0u);
  }
}

TEST_P(channel_life, what_was_sent_before_close_arrives) {
  channel_ends ends(GetParam());
  const std::vector<std::byte> body(1000);
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(ends.near->send(execution_request(std::to_string(i), payload::copy_of(body))));
  }
  ends.near->close();
  for (int i = 0; i < 500; ++i) {
    auto next = ends.far->receive(generous);
    ASSERT_TRUE(next) << i << next.error().message();
    EXPECT_EQ(next->function, std::to_string(i));
  }
  EXPECT_EQ(code_of(ends.far->receive(generous)), errc::closed);
}

TEST_P(channel_life, close_inside_a_callback_does_not_wait_for_itself) {
  channel_ends ends(GetParam());
  ends.echo();
  std::optional<errc> ended;
  ends.near->on_closed([&](const channel_error& why) { ended = why.code; });
  bool answered = false;
  ASSERT_TRUE(ends.near->request_async(ack(), generous, [&](message_result&& how) {
    answered = how.has_value();
    EXPECT_EQ(code_of(ends.near->request(ack(), 1s)), errc::invalid_request);
    ends.near->close();
  }));
  while (!ended) ASSERT_TRUE(ends.near->loop().run_once(generous));
  EXPECT_TRUE(answered);
  EXPECT_EQ(*ended, errc::closed);
}

TEST_P(channel_life, leaves_no_descriptors_mappings_or_threads) {
  { channel_ends warm(GetParam()); }  // what is made once and kept
  const auto descriptors = descriptors_of(::getpid());
  const auto threads = threads_of(::getpid());
  const auto mappings = mappings_of(::getpid(), "memfd");
  for (int i = 0; i < 20; ++i) {
    channel_ends ends(GetParam());
    ends.echo();
    ASSERT_TRUE(ends.near->request(
        execution_request("f", payload::copy_of(std::vector<std::byte>(10'000))), generous));
  }
  EXPECT_EQ(descriptors_of(::getpid()), descriptors);
  EXPECT_EQ(threads_of(::getpid()), threads);
  EXPECT_EQ(mappings_of(::getpid(), "memfd"), mappings);
}

TEST_P(channel_life, message_over_the_limit_is_refused_by_the_sender) {
  channel_options small;
  small.max_message_bytes = 100'000;
  channel_ends ends(GetParam(), small);
  ends.echo();
  const std::vector<std::byte> large(100'001);
  EXPECT_EQ(code_of(ends.near->send(execution_request("", payload::copy_of(large)))),
            errc::frame_too_large);
  EXPECT_EQ(code_of(ends.near->borrow(100'001)), errc::frame_too_large);
  EXPECT_EQ(ends.near->get_stats().bytes_sent, 0u);
  message names = ack();
  names.metadata.emplace_back("k", std::string(70'000, 'x'));
  EXPECT_EQ(code_of(ends.near->send(std::move(names))), errc::frame_too_large);
  EXPECT_TRUE(ends.near->request(ack(), generous));
}

TEST_P(channel_links, message_over_the_limit_ends_the_receivers_channel) {
  channel_options small;
  small.max_message_bytes = 100'000;
  channel_ends ends(GetParam(), {}, small);
  const std::vector<std::byte> large(50'000'000);
  (void)ends.near->send(execution_request("", payload::copy_of(large)), {true, 5s});
  ASSERT_TRUE(eventually([&] { return ends.far->failure().has_value(); }));
  EXPECT_EQ(ends.far->failure()->code, errc::frame_too_large);
  EXPECT_EQ(ends.far->get_stats().connection_errors, 1u);
}

TEST_P(channel_life, health_is_answered_while_a_handler_blocks_and_not_when_the_loop_is_stuck) {
  std::atomic<bool> stuck{false}, release{false};  // outlive the loop that looks at them
  channel_ends ends(GetParam());
  // A worker that takes its requests by receive() and blocks: the loop has its own thread.
  std::atomic<bool> go_on{false};
  std::thread worker([&] {
    auto asked = ends.far->receive(generous);
    while (!go_on) ::usleep(1000);
    if (asked) (void)ends.far->reply(*asked, execution_success());
  });
  bool done = false;
  ASSERT_TRUE(ends.near->request_async(execution_request("slow"), generous,
                                       [&](message_result&& how) { done = how.has_value(); }));
  auto answer = ends.near->request(health_check(), generous);
  ASSERT_TRUE(answer) << answer.error().message();
  auto report = health_of(*answer);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->status, health_status::healthy);
  EXPECT_EQ(report->metrics.active_requests, 1u);
  EXPECT_EQ(report->metrics.total_requests, 1u);
  EXPECT_GT(report->metrics.memory_bytes, 0u);
  EXPECT_GT(report->metrics.timestamp_ms, 0u);
  go_on = true;
  worker.join();
  while (!done) ASSERT_TRUE(ends.near->loop().run_once(generous));

  ends.far_loop->loop().post([&] {
    stuck = true;
    while (!release) ::usleep(1000);
  });
  ASSERT_TRUE(eventually([&] { return stuck.load(); }));
  EXPECT_EQ(code_of(ends.near->request(health_check(), 100ms)), errc::timeout);
  release = true;
}

TEST_P(channel_life, health_counts_a_request_once_that_was_given_up_and_answered_late_or_twice) {
  channel_ends ends(GetParam());
  mailbox<message> came;
  ends.far->on_message([&](message&& asked) { came.put(std::move(asked)); });
  EXPECT_EQ(code_of(ends.near->request(execution_request("slow"), 30ms)), errc::timeout);
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().cancels_received == 1; }));
  int ended = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(ends.near->request_async(execution_request("next"), generous,
                                         [&](message_result&&) { ++ended; }));
  }
  const auto late = came.take(), answered = came.take();
  ASSERT_TRUE(late && answered);
  ASSERT_TRUE(ends.far->reply(*late, execution_success()));
  ASSERT_TRUE(ends.far->reply(*answered, execution_success()));
  ASSERT_TRUE(ends.far->reply(*answered, execution_success()));
  while (ended == 0) ASSERT_TRUE(ends.near->loop().run_once(generous));
  const auto answer = ends.near->request(health_check(), generous);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(health_of(*answer)->metrics.total_requests, 4u);
  EXPECT_EQ(health_of(*answer)->metrics.active_requests, 2u);
  ends.far->on_message([](message&&) {});
  ends.near->close();  // the two end here, while `ended` is there
}

TEST_P(channel_links, busy_link_sends_no_heartbeats_and_an_idle_one_does) {
  channel_options beating;
  beating.heartbeat = 200ms;
  channel_ends ends(GetParam(), beating);
  ends.echo();
  const auto busy_until = steady::now() + 500ms;
  while (steady::now() < busy_until) ASSERT_TRUE(ends.near->request(ack(), generous));
  EXPECT_EQ(ends.near->get_stats().heartbeats_sent, 0u);
  ASSERT_TRUE(eventually([&] {
    (void)ends.near->loop().run_once(50ms);
    return ends.near->get_stats().heartbeats_sent >= 2;
  }));
  EXPECT_TRUE(ends.near->is_connected());
}

TEST_P(channel_links, silent_peer_is_found_a_tenth_after_three_intervals_and_never_before) {
  bool in_time = false;
  // One run in time will do: on a loaded machine others may be late, but none may be early.
  for (int run = 0; run < 10 && !in_time; ++run) {
    std::atomic<bool> stuck{false}, release{false};  // outlive the loop that looks at them
    channel_options beating;
    beating.heartbeat = 100ms;
    channel_ends ends(GetParam(), beating);
    ends.echo();
    const auto alive = steady::now();
    ASSERT_TRUE(ends.near->request(ack(), generous));  // heard of after `alive`
    ends.far_loop->loop().post([&] {
      stuck = true;
      while (!release) ::usleep(1000);
    });
    ASSERT_TRUE(eventually([&] { return stuck.load(); }));
    const auto silent = steady::now();
    while (!ends.near->failure()) ASSERT_TRUE(ends.near->loop().run_once(generous));
    const auto found = steady::now();
    release = true;
    EXPECT_GE(found - alive, 300ms);
    EXPECT_EQ(ends.near->failure()->code, errc::unavailable);
    EXPECT_EQ(ends.near->failure()->text, "no sign of life for 300 ms");
    EXPECT_GE(ends.near->get_stats().heartbeats_sent, 1u);  // it was asked
    in_time = found - silent <= 330ms;                      // 3 intervals and 10 percent
  }
  EXPECT_TRUE(in_time);
}

}  // namespace
}  // namespace ferry
