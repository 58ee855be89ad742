// What every channel promises about messages and requests, whatever carries it.
#include <algorithm>
#include <numeric>
#include <random>

#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

class channel_messages : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_messages, all_transports(), transport_name);

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + seed);
  return bytes;
}

TEST_P(channel_messages, arrive_whole_and_in_order_with_every_field) {
  channel_ends ends(GetParam());
  EXPECT_EQ(ends.near->type(), GetParam());
  EXPECT_EQ(ends.far->instance_id(), test_instance());
  EXPECT_TRUE(ends.near->is_connected());
  message sent = execution_request("resize", payload::copy_of("some data"));
  sent.timeout_ms = 1234;
  sent.metadata = {{"trace", "abc"}, {"empty", ""}, {"id", std::string(300, 'x')}};
  ASSERT_TRUE(ends.near->send(std::move(sent)));
  message failed = execution_failure(77, "it broke", "at line 1");
  failed.elapsed_ms = 5;
  ASSERT_TRUE(ends.near->send(std::move(failed)));
  ASSERT_TRUE(ends.near->send(execution_timeout(99)));
  ASSERT_TRUE(ends.near->send(shutdown_request(false, 2000)));
  ASSERT_TRUE(ends.near->send(ack()));
  ASSERT_TRUE(ends.near->send(error_message(5, "oh")));

  auto got = ends.far->receive(generous);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->kind, message_kind::execution_request);
  EXPECT_EQ(got->function, "resize");
  EXPECT_EQ(got->data.text(), "some data");
  EXPECT_EQ(got->timeout_ms, 1234u);
  EXPECT_EQ(got->request_id, 0u);
  ASSERT_EQ(got->metadata.size(), 3u);
  EXPECT_EQ(got->metadata[0].second, "abc");
  EXPECT_EQ(got->metadata[1].second, "");
  EXPECT_EQ(got->metadata[2].second.size(), 300u);
  got = ends.far->receive(generous);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->outcome, execution_outcome::failure);
  EXPECT_EQ(got->code, 77u);
  EXPECT_EQ(got->text, "it broke");
  EXPECT_EQ(got->stack_trace, "at line 1");
  EXPECT_EQ(got->elapsed_ms, 5u);
  got = ends.far->receive(generous);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->outcome, execution_outcome::timeout);
  EXPECT_EQ(got->timeout_ms, 99u);
  got = ends.far->receive(generous);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->kind, message_kind::shutdown);
  EXPECT_FALSE(got->graceful);
  EXPECT_EQ(got->timeout_ms, 2000u);
  EXPECT_EQ(ends.far->receive(generous)->kind, message_kind::ack);
  got = ends.far->receive(generous);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->kind, message_kind::error);
  EXPECT_EQ(got->text, "oh");
}

TEST_P(channel_messages, of_every_size_arrive_unchanged_both_ways) {
  channel_ends ends(GetParam());
  ends.echo();
  for (const std::size_t size : {0u, 1u, 64u, 65u, 1024u, 2048u, 2049u, 4096u, 4097u, 65'536u,
                                 65'537u, 200'000u, 5'000'000u}) {
    const auto bytes = pattern(size, static_cast<unsigned>(size));
    auto answer = ends.near->request(execution_request("echo", payload::copy_of(bytes)), generous);
    ASSERT_TRUE(answer) << size << " " << answer.error().message();
    ASSERT_TRUE(std::ranges::equal(answer->data.bytes(), bytes)) << size;
    // The same from memory that the channel lent.
    auto lent = ends.near->borrow(size);
    ASSERT_TRUE(lent);
    if (size != 0) std::ranges::copy(bytes, lent->writable().begin());
    answer = ends.near->request(execution_request("echo", std::move(*lent)), generous);
    ASSERT_TRUE(answer) << size << " " << answer.error().message();
    ASSERT_TRUE(std::ranges::equal(answer->data.bytes(), bytes)) << size;
  }
}

TEST_P(channel_messages, thousand_concurrent_requests_get_their_own_answers_in_any_order) {
  channel_ends ends(GetParam());
  constexpr std::size_t count = 1000;
  std::thread server([&] {
    std::vector<message> asked;
    while (asked.size() < count) {
      auto next = ends.far->receive(generous);
      if (!next) return;
      asked.push_back(std::move(*next));
    }
    std::ranges::shuffle(asked, std::mt19937(42));
    for (message& each : asked) {
      (void)ends.far->reply(each, execution_success(std::move(each.data)));
    }
  });
  std::size_t right = 0, ended = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto started =
        ends.near->request_async(execution_request("f", payload::copy_of(std::to_string(i))),
                                 generous, [&, i](message_result&& answer) {
                                   ++ended;
                                   right += text_of(answer) == std::to_string(i);
                                 });
    ASSERT_TRUE(started) << started.error().message();
  }
  EXPECT_EQ(ends.near->get_stats().requests_in_flight, count);
  while (ended < count) ASSERT_TRUE(ends.near->loop().run_once(generous));
  server.join();
  EXPECT_EQ(right, count);
  EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
}

TEST_P(channel_messages, requests_of_many_threads_share_one_channel) {
  channel_ends ends(GetParam());
  ends.echo();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(t) + " " + std::to_string(i);
        auto answer = ends.near->request(execution_request("f", payload::copy_of(text)), generous);
        right += text_of(answer) == text;
      }
    });
  }
  for (auto& each : threads) each.join();
  EXPECT_EQ(right, 8 * 200);
}

TEST_P(channel_messages, request_that_expires_says_after_how_long_and_its_late_answer_is_counted) {
  channel_ends ends(GetParam());
  auto late = ends.near->request(execution_request("slow"), 50ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::timeout);
  EXPECT_EQ(late.error().timeout_ms, 50u);
  EXPECT_TRUE(late.error().maybe_executed);
  EXPECT_EQ(ends.near->get_stats().requests_in_flight, 0u);
  EXPECT_EQ(ends.near->get_stats().timeout_errors, 1u);
  EXPECT_EQ(ends.near->get_stats().cancels_sent, 1u);
  // The cancel takes it out of the inbox.
  ASSERT_TRUE(eventually([&] { return ends.far->get_stats().cancels_received == 1; }));
  EXPECT_EQ(ends.far->get_stats().inbox_depth, 0u);

  // One that is being worked on: its worker is told; its answer goes to nobody else.
  std::atomic<std::uint64_t> cancelled{0};
  ends.far->on_cancel([&](std::uint64_t id) { cancelled = id; });
  mailbox<message> came;
  ends.far->on_message([&](message&& asked) { came.put(std::move(asked)); });
  std::optional<message_result> outcome;
  ASSERT_TRUE(ends.near->request_async(execution_request("slow"), 30ms,
                                       [&](message_result&& how) { outcome = std::move(how); }));
  while (!outcome) ASSERT_TRUE(ends.near->loop().run_once(generous));
  EXPECT_EQ(code_of(*outcome), errc::timeout);
  EXPECT_EQ(outcome->error().timeout_ms, 30u);
  auto asked = came.take();
  ASSERT_TRUE(asked);
  ASSERT_TRUE(eventually([&] { return cancelled == asked->request_id; }));
  std::thread other([&] {
    auto second = came.take();
    if (!second) return;
    (void)ends.far->reply(*asked, execution_success(payload::copy_of("stale")));
    (void)ends.far->reply(*second, execution_success(payload::copy_of("fresh")));
  });
  EXPECT_EQ(text_of(ends.near->request(execution_request("next"), generous)), "fresh");
  other.join();
  EXPECT_EQ(ends.near->get_stats().late_answers, 1u);
  ends.far->on_message([](message&&) {});
}

TEST_P(channel_messages, unsolicited_messages_are_never_taken_for_answers) {
  channel_ends ends(GetParam());
  std::thread server([&] {
    auto asked = ends.far->receive(generous);
    (void)ends.far->send(execution_success(payload::copy_of("unasked")));
    if (asked) (void)ends.far->reply(*asked, execution_success(payload::copy_of("answer")));
  });
  EXPECT_EQ(text_of(ends.near->request(execution_request("f"), generous)), "answer");
  EXPECT_EQ(text_of(ends.near->receive(generous)), "unasked");
  server.join();
}

TEST_P(channel_messages, both_sides_may_ask_at_the_same_time) {
  channel_ends ends(GetParam());
  ends.echo();
  ends.near->on_message([&](message&& asked) {
    (void)ends.near->reply(asked, execution_success(payload::copy_of("near")));
  });
  std::atomic<bool> over{false};
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(text_of(ends.far->request(execution_request("f"), generous)), "near") << i;
    }
    over = true;
  });
  for (int i = 0; i < 200; ++i) {
    auto answer = ends.near->request(execution_request("f", payload::copy_of("far")), generous);
    EXPECT_EQ(text_of(answer), "far") << i;
  }
  while (!over && ends.near->loop().run_once(100ms)) {
  }
  other.join();
}

TEST_P(channel_messages, full_queue_waits_or_says_so_and_loses_nothing) {
  channel_options small;
  small.outbox_bytes = 64 << 10;
  small.session.ring_bytes = 64 << 10;
  channel_options few;
  few.inbox_messages = 16;
  few.outbox_bytes = 64 << 10;
  channel_ends ends(GetParam(), small, few);
  const auto body = pattern(1000, 1);
  int sent = 0;
  send_result last;
  for (; sent < 1'000'000; ++sent) {
    message next = execution_request(std::to_string(sent), payload::copy_of(body));
    last = ends.near->send(std::move(next), {.wait = false});
    if (!last) break;
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, errc::full);
  send_result timed;
  for (; timed; ++sent) {
    message next = execution_request(std::to_string(sent), payload::copy_of(body));
    timed = ends.near->send(std::move(next), {.wait = true, .timeout = 50ms});
  }
  --sent;
  EXPECT_EQ(timed.error().code, errc::timeout);
  EXPECT_EQ(timed.error().timeout_ms, 50u);
  constexpr int more = 3000;
  std::thread sender([&] {
    for (int i = 0; i < more; ++i) {
      message next = execution_request(std::to_string(sent + i), payload::copy_of(body));
      EXPECT_TRUE(ends.near->send(std::move(next)));
    }
    // Somebody has to drive what is queued to its end.
    while (ends.far->get_stats().messages_received < static_cast<std::uint64_t>(sent + more)) {
      if (!ends.near->loop().run_once(10ms)) break;
    }
  });
  int wrong = 0;
  for (int i = 0; i < sent + more; ++i) {
    auto next = ends.far->receive(generous);
    ASSERT_TRUE(next) << i << " of " << sent + more << ": " << next.error().message();
    wrong += next->function != std::to_string(i);
  }
  sender.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(channel_messages, room_that_nobody_waits_for_lets_the_loop_rest) {
  channel_ends ends(GetParam());
  const std::vector<std::byte> body(2000);
  std::uint64_t sent = 0;
  const send_options at_once{.wait = false, .timeout = {}};
  while (ends.near->send(execution_request("", payload::copy_of(body)), at_once)) ++sent;
  for (; sent > 0; --sent) {
    while (!ends.far->try_receive()) ASSERT_TRUE(ends.near->loop().run_once(1ms));
  }
  // A loop that sees input where there is none would never return from this.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(ends.near->loop().run_once(10ms));
  EXPECT_TRUE(ends.near->is_connected());
}

}  // namespace
}  // namespace ferry
