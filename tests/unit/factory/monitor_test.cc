#include "engine/channel/factory/monitor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/factory/fake_world.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

struct monitored : testing::Test {  // fixture: a clock, usage as set, and channels
  monitor_time now{24h};
  process_usage usage{.memory_bytes = 1000, .cpu_time = 10s};
  monitor_options options;
  std::optional<channel_monitor> monitor;

  monitored() {
    options.usage = [this]() -> result<process_usage> { return usage; };
    start();
  }
  void start() { monitor.emplace(now, options); }

  std::shared_ptr<fake_channel> connect(const char* full_id, std::uint64_t uptime_seconds = 0) {
    auto chan = std::make_shared<fake_channel>(instance_of(full_id), "unix");
    channel_stats stats;
    stats.uptime_seconds = uptime_seconds;
    chan->set_stats(stats);
    return chan;
  }
  static void move(fake_channel& chan, std::uint64_t messages, std::uint64_t bytes) {
    auto stats = chan.get_stats();
    stats.messages_sent += messages;
    stats.messages_received += messages;
    stats.bytes_sent += bytes;
    stats.bytes_received += bytes;
    chan.set_stats(stats);
  }
};

TEST_F(monitored, connections_are_reported_with_what_they_counted) {
  const auto chan = connect("ns:process:a", 100);
  const auto id = monitor->watch(chan, now);
  ASSERT_TRUE(id);
  channel_stats stats = chan->get_stats();
  stats.messages_sent = 1;
  stats.messages_received = 2;
  stats.bytes_sent = 3;
  stats.bytes_received = 4;
  stats.connection_errors = 5;
  stats.timeout_errors = 6;
  stats.avg_latency_ms = 7.5;
  chan->set_stats(stats);
  now += 10s;
  monitor->collect(now);
  const auto all = monitor->connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].id, *id);
  EXPECT_EQ(all[0].instance.full_id(), "ns:process:a");
  EXPECT_EQ(all[0].channel, "unix");
  EXPECT_EQ(all[0].connected_at, now - 110s);
  EXPECT_EQ(all[0].last_activity, now);
  EXPECT_EQ(all[0].messages_sent, 1u);
  EXPECT_EQ(all[0].messages_received, 2u);
  EXPECT_EQ(all[0].bytes_sent, 3u);
  EXPECT_EQ(all[0].bytes_received, 4u);
  EXPECT_EQ(all[0].error_count, 11u);
  EXPECT_EQ(all[0].avg_response_time_ms, 7.5);
  EXPECT_TRUE(monitor->count_error(*id, "of the user", now));
  EXPECT_EQ(monitor->connections()[0].error_count, 12u);
  EXPECT_EQ(monitor->collect(now += 1s).totals.errors, 12u);
  EXPECT_EQ(monitor->connections()[0].error_count, 12u);
}

TEST_F(monitored, connections_are_active_then_idle_and_busy_while_something_waits) {
  const auto chan = connect("process:a");
  ASSERT_TRUE(monitor->watch(chan, now));
  const auto state = [&] {
    monitor->collect(now);
    return monitor->connections().at(0).state;
  };
  EXPECT_EQ(state(), connection_state::active);
  now += 30s - 1ns;
  EXPECT_EQ(state(), connection_state::active);
  now += 1ns;
  EXPECT_EQ(state(), connection_state::idle);
  move(*chan, 1, 1);
  now += 1s;
  EXPECT_EQ(state(), connection_state::active);
  now += 1h;
  for (auto channel_stats::*waiting :
       {&channel_stats::requests_in_flight, &channel_stats::send_queue_depth,
        &channel_stats::inbox_depth}) {
    auto stats = chan->get_stats();
    stats.*waiting = 1;
    chan->set_stats(stats);
    EXPECT_EQ(state(), connection_state::busy);
    stats.*waiting = 0;
    chan->set_stats(stats);
    EXPECT_EQ(state(), connection_state::idle);
  }
}

TEST_F(monitored, connections_that_end_are_kept_apart_with_the_reason) {
  const auto lost = connect("process:lost");
  const auto closed = connect("process:closed");
  auto dropped = connect("process:dropped");
  const auto stays = connect("process:stays");
  const auto lost_id = *monitor->watch(lost, now);
  for (const auto& chan : {closed, dropped, stays}) ASSERT_TRUE(monitor->watch(chan, now));
  move(*dropped, 2, 10);
  EXPECT_EQ(monitor->collect(now += 1s).active_connections, 4u);
  move(*lost, 1, 5);
  lost->break_link();
  closed->close();
  dropped.reset();
  const auto report = monitor->collect(now += 1s);
  EXPECT_EQ(report.active_connections, 1u);
  EXPECT_EQ(report.total_connections, 4u);
  EXPECT_EQ(report.totals.messages, 6u);
  const auto finished = monitor->finished();
  ASSERT_EQ(finished.size(), 3u);
  EXPECT_EQ(finished[0].state, connection_state::error);
  EXPECT_EQ(finished[0].failure, "unavailable (3001): broken by the test");
  EXPECT_EQ(finished[0].messages_sent, 1u);
  EXPECT_EQ(finished[1].state, connection_state::idle);
  EXPECT_EQ(finished[1].failure, "");
  EXPECT_EQ(finished[2].bytes_sent, 10u);  // as it was read last
  EXPECT_FALSE(monitor->count_error(lost_id, "too late", now));
  monitor->collect(now += 1s);
  EXPECT_EQ(monitor->finished().size(), 3u);
}

TEST_F(monitored, channels_are_not_kept_alive) {
  auto chan = connect("process:a");
  const std::weak_ptr<fake_channel> watched = chan;
  ASSERT_TRUE(monitor->watch(chan, now));
  monitor->collect(now += 1s);
  chan.reset();
  EXPECT_TRUE(watched.expired());
}

TEST_F(monitored, finished_connections_history_and_events_are_bounded) {
  options.max_finished = 2;
  options.max_history = 3;
  options.max_events = 4;
  options.max_event_text = 12;
  options.max_connections = 2;
  start();
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(monitor->watch(connect(("process:" + std::to_string(i)).c_str()), now));
    monitor->collect(now += 1s);
  }
  ASSERT_EQ(monitor->finished().size(), 2u);
  EXPECT_EQ(monitor->finished()[1].instance.full_id(), "process:5");
  ASSERT_EQ(monitor->history().size(), 3u);
  EXPECT_EQ(monitor->history().back().at, now);
  EXPECT_EQ(monitor->history().back().total_connections, 6u);
  EXPECT_EQ(monitor->dropped_events(), 8u);  // of 6 connected and 6 disconnected
  const auto first = monitor->take_events(3);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0].text, "connected to");
  EXPECT_EQ(monitor->take_events().size(), 1u);
  EXPECT_TRUE(monitor->take_events().empty());
  EXPECT_EQ(monitor->dropped_events(), 8u);

  const auto a = connect("process:a"), b = connect("process:b"), c = connect("process:c");
  ASSERT_TRUE(monitor->watch(a, now));
  ASSERT_TRUE(monitor->watch(b, now));
  EXPECT_EQ(monitor->watch(c, now).error().code, errc::limit);
}

TEST_F(monitored, rates_are_over_the_time_that_has_really_passed) {
  const auto chan = connect("process:a");
  ASSERT_TRUE(monitor->watch(chan, now));
  EXPECT_EQ(monitor->collect(now).rates.window, 0ns);
  move(*chan, 50, 1000);  // both ways: 100 messages, 2000 bytes
  usage.cpu_time += 2s;
  auto rates = monitor->collect(now += 4s).rates;
  EXPECT_EQ(rates.window, 4s);
  EXPECT_DOUBLE_EQ(rates.messages_per_second, 25);
  EXPECT_DOUBLE_EQ(rates.bytes_per_second, 500);
  EXPECT_DOUBLE_EQ(rates.cpu_percent, 50);
  // Half a window later it still shows, a whole window later it does not.
  rates = monitor->collect(now += 30s).rates;
  EXPECT_EQ(rates.window, 34s);
  EXPECT_DOUBLE_EQ(rates.messages_per_second, 100.0 / 34);
  rates = monitor->collect(now += 60s).rates;
  EXPECT_EQ(rates.window, 60s);
  EXPECT_DOUBLE_EQ(rates.messages_per_second, 0);
  EXPECT_DOUBLE_EQ(rates.cpu_percent, 0);
}

TEST_F(monitored, what_went_before_shows_but_is_in_no_total_and_no_rate) {
  const auto chan = connect("process:a");
  move(*chan, 1'000'000, 1'000'000'000);
  auto stats = chan->get_stats();
  stats.timeout_errors = 9;
  chan->set_stats(stats);
  ASSERT_TRUE(monitor->watch(chan, now));
  EXPECT_EQ(monitor->connections()[0].messages_sent, 1'000'000u);
  EXPECT_EQ(monitor->connections()[0].error_count, 9u);
  move(*chan, 5, 10);
  const auto report = monitor->collect(now += 1s);
  EXPECT_EQ(report.totals.messages, 10u);
  EXPECT_EQ(report.totals.errors, 0u);
  EXPECT_DOUBLE_EQ(report.rates.messages_per_second, 10);
  EXPECT_DOUBLE_EQ(report.rates.bytes_per_second, 20);
  EXPECT_EQ(monitor->connections()[0].messages_sent, 1'000'005u);
}

TEST_F(monitored, a_channel_that_still_flushes_is_not_finished) {
  const auto chan = connect("process:a");
  ASSERT_TRUE(monitor->watch(chan, now));
  chan->begin_close();
  EXPECT_EQ(monitor->collect(now += 1s).active_connections, 1u);
  move(*chan, 3, 3);
  chan->close();
  const auto report = monitor->collect(now += 1s);
  EXPECT_EQ(report.active_connections, 0u);
  EXPECT_EQ(report.totals.messages, 6u);
  ASSERT_EQ(monitor->finished().size(), 1u);
  EXPECT_EQ(monitor->finished()[0].messages_sent, 3u);
}

TEST_F(monitored, rates_stay_when_the_clock_stands_or_runs_back) {
  const auto chan = connect("process:a");
  ASSERT_TRUE(monitor->watch(chan, now));
  move(*chan, 5, 5);
  EXPECT_DOUBLE_EQ(monitor->collect(now += 1s).rates.messages_per_second, 10);
  move(*chan, 5, 5);
  EXPECT_DOUBLE_EQ(monitor->collect(now).rates.messages_per_second, 10);
  EXPECT_DOUBLE_EQ(monitor->collect(now - 10s).rates.messages_per_second, 10);
  EXPECT_DOUBLE_EQ(monitor->collect(now += 1s).rates.messages_per_second, 10);
}

TEST_F(monitored, error_rate_is_of_all_errors_and_never_above_one) {
  const auto chan = connect("process:a");
  const auto id = *monitor->watch(chan, now);
  move(*chan, 5, 5);
  monitor->count_message(message_kind::execution_request, false);
  monitor->count_error(id, "of the user", now);
  EXPECT_DOUBLE_EQ(monitor->collect(now += 1s).rates.error_rate, 0.2);
  EXPECT_DOUBLE_EQ(monitor->collect(now += 2h).rates.error_rate, 0);  // long ago
  for (int i = 0; i < 3; ++i) monitor->count_error(id, "without any message", now);
  EXPECT_DOUBLE_EQ(monitor->collect(now += 61s).rates.error_rate, 1);
}

TEST_F(monitored, collections_are_due_every_interval) {
  EXPECT_EQ(monitor->next_collection(), now + 30s);
  EXPECT_FALSE(monitor->collect_if_due(now + 30s - 1ns));
  EXPECT_TRUE(monitor->collect_if_due(now + 30s));
  EXPECT_FALSE(monitor->collect_if_due(now + 31s));
  monitor->collect(now + 45s);  // one on demand counts too
  EXPECT_EQ(monitor->next_collection(), now + 75s);
}

TEST_F(monitored, one_of_many_threads_collects_when_it_is_due) {
  for (int round = 1; round <= 50; ++round) {
    const auto due = now + 30s * round;
    std::atomic<int> collected = 0, ready = 0;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
          ++ready;
          while (ready < 4) std::this_thread::yield();
          if (monitor->collect_if_due(due)) ++collected;
        });
      }
    }
    EXPECT_EQ(collected, 1) << round;
  }
}

TEST_F(monitored, messages_are_told_apart_by_kind) {
  monitor->count_message(message_kind::execution_request, true, 2ms);
  monitor->count_message(message_kind::execution_request, false, 6ms);
  monitor->count_message(message_kind::execution_request, true);  // no time: no error
  monitor->count_message(message_kind::ack, true);
  const auto all = monitor->messages();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].kind, message_kind::execution_request);
  EXPECT_EQ(all[0].total, 3u);
  EXPECT_EQ(all[0].success, 2u);
  EXPECT_EQ(all[0].error, 1u);
  EXPECT_EQ(all[0].timed, 2u);
  EXPECT_DOUBLE_EQ(all[0].avg_processing_ms, 4);
  EXPECT_DOUBLE_EQ(all[0].max_processing_ms, 6);
  EXPECT_DOUBLE_EQ(all[0].min_processing_ms, 2);
  EXPECT_EQ(all[1].kind, message_kind::ack);
  EXPECT_EQ(all[1].timed, 0u);
}

TEST_F(monitored, memory_stays_as_it_was_when_it_cannot_be_measured) {
  EXPECT_EQ(monitor->collect(now += 1s).memory_bytes, 1000u);
  options.usage = []() -> result<process_usage> { return error{errc::system, 5, "gone"}; };
  start();
  EXPECT_EQ(monitor->collect(now += 1s).memory_bytes, 0u);
}

TEST(process_usage, is_measured) {
  const auto before = measure_process_usage();
  ASSERT_TRUE(before);
  EXPECT_GT(before->memory_bytes, 100'000u);
  std::atomic<std::uint64_t> work = 0;
  const auto until = std::chrono::steady_clock::now() + 10s;
  auto after = before;
  while (after->cpu_time < before->cpu_time + 5ms && std::chrono::steady_clock::now() < until) {
    for (int i = 0; i < 10000; ++i) work += 1;
    after = measure_process_usage();
    ASSERT_TRUE(after);
  }
  EXPECT_GE(after->cpu_time, before->cpu_time + 5ms);
}

TEST(bounded_log, keeps_the_last_ones) {
  bounded_log<int> log(2);
  for (int i = 1; i <= 5; ++i) log.push(i);
  EXPECT_EQ(log.copy(), (std::vector{4, 5}));
  EXPECT_EQ(log.dropped(), 3u);
  EXPECT_EQ(log.take(10), (std::vector{4, 5}));
  EXPECT_EQ(log.size(), 0u);
  bounded_log<int> none(0);
  none.push(1);
  EXPECT_EQ(none.dropped(), 1u);
}

TEST(rate_window, keeps_a_bounded_number_of_samples_and_tells_the_shorter_window) {
  const monitor_time began{1h};
  rate_window window(1h, began, {});
  monitored_totals totals;
  monitored_rates rates;
  for (int i = 1; i <= 3000; ++i) {
    totals.messages += 2;
    rates = window.add(began + 1ms * i, totals);
  }
  EXPECT_EQ(rates.window, 1ms * rate_window::most_samples);
  EXPECT_DOUBLE_EQ(rates.messages_per_second, 2000);
}

TEST_F(monitored, many_threads_may_count_watch_and_collect) {
  std::atomic<bool> done = false;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 300; ++i) {
        auto chan = connect(("process:t" + std::to_string(thread)).c_str());
        const auto id = monitor->watch(chan, now);
        ASSERT_TRUE(id);
        move(*chan, 1, 1);
        monitor->count_message(message_kind::ack, true, 1ms);
        monitor->count_error(*id, "noted", now);
        if (i % 2 == 0) chan->close();
      }
    });
  }
  std::jthread collector([&] {
    auto later = now;
    while (!done) {
      monitor->collect(later += 1ms);
      (void)monitor->connections();
      (void)monitor->take_events(10);
    }
  });
  threads.clear();
  done = true;
  collector.join();
  const auto last = monitor->collect(now + 1h);
  EXPECT_EQ(last.active_connections, 0u);
  EXPECT_EQ(last.total_connections, 600u);
  EXPECT_EQ(monitor->messages().at(0).total, 600u);
}

}  // namespace
}  // namespace ferry
