#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "engine/channel/asked_requests.h"
#include "engine/channel/body_memory.h"
#include "engine/channel/counters.h"
#include "engine/channel/request_table.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

TEST(latency_histogram, buckets_follow_each_other_without_gap) {
  EXPECT_EQ(latency_histogram::bucket_of(0), 0u);
  EXPECT_EQ(latency_histogram::bucket_of(63), 63u);
  for (std::size_t bucket = 0; bucket + 1 < latency_histogram::buckets; ++bucket) {
    const auto low = latency_histogram::lowest_in(bucket);
    const auto next = latency_histogram::lowest_in(bucket + 1);
    ASSERT_LT(low, next);
    ASSERT_EQ(latency_histogram::bucket_of(low), bucket);
    ASSERT_EQ(latency_histogram::bucket_of(next - 1), bucket);
  }
  EXPECT_EQ(latency_histogram::bucket_of(UINT64_MAX), latency_histogram::buckets - 1);
}

TEST(latency_histogram, mean_is_of_the_values_and_percentiles_of_the_buckets) {
  channel_counters counters;
  for (int us = 1; us <= 100; ++us) counters.answered(std::chrono::microseconds(us));
  channel_stats stats;
  counters.copy_to(stats);
  EXPECT_EQ(stats.latency.count(), 100u);
  EXPECT_DOUBLE_EQ(stats.latency.mean_us(), 50.5);
  EXPECT_DOUBLE_EQ(stats.avg_latency_ms, 0.0505);
  EXPECT_EQ(stats.latency.percentile_us(0.5), 51u);
  EXPECT_EQ(stats.latency.percentile_us(0.99), 100u);
}

std::optional<std::uint64_t> begin(request_table& in, request_table::clock::time_point deadline) {
  return in.begin({}, {}, deadline, {});
}

TEST(request_table, gives_each_request_out_once) {
  request_table table(2);
  const auto first = begin(table, {}), second = begin(table, {});
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(begin(table, {}));
  EXPECT_EQ(table.count(), 2u);
  EXPECT_TRUE(table.end(*first));
  EXPECT_FALSE(table.end(*first));
  EXPECT_FALSE(table.end(0));
  EXPECT_FALSE(table.end(UINT64_MAX));
  const auto third = begin(table, {});  // the same slot, another id
  ASSERT_TRUE(third);
  EXPECT_NE(*third, *first);
  EXPECT_FALSE(table.end(*first));
  table.close();
  EXPECT_TRUE(table.end_any());
  EXPECT_TRUE(table.end_any());
  EXPECT_FALSE(table.end_any());
  EXPECT_FALSE(begin(table, {}));
}

TEST(request_table, knows_the_next_deadline) {
  request_table table(100);
  const auto start = request_table::clock::now();
  EXPECT_EQ(table.next_deadline(), request_table::clock::time_point::max());
  for (int i = 10; i > 0; --i) {
    ASSERT_TRUE(begin(table, start + i * 1s));
  }
  EXPECT_EQ(table.next_deadline(), start + 1s);
  int ended = 0;
  while (table.end_due(start + 3s)) ++ended;
  EXPECT_EQ(ended, 3);
  EXPECT_EQ(table.next_deadline(), start + 4s);
  while (table.end_due(start + 20s)) ++ended;
  EXPECT_EQ(ended, 10);
  EXPECT_EQ(table.next_deadline(), request_table::clock::time_point::max());
}

TEST(asked_requests, leave_once_however_often_they_are_answered) {
  asked_requests asked;
  asked.begin(1 << 20 | 0);
  asked.begin(1 << 20 | 1);
  asked.begin(0);  // cannot be answered
  EXPECT_EQ(asked.count().total, 3u);
  EXPECT_EQ(asked.count().active, 2u);
  EXPECT_TRUE(asked.end(1 << 20 | 0));   // given up
  EXPECT_FALSE(asked.end(1 << 20 | 0));  // and answered
  EXPECT_FALSE(asked.end(2 << 20 | 1));
  asked.begin(2 << 20 | 1);  // beside the one of the same slot
  EXPECT_EQ(asked.count().active, 2u);
  EXPECT_TRUE(asked.end(2 << 20 | 1));
  EXPECT_FALSE(asked.end(UINT64_MAX));
  EXPECT_FALSE(asked.end(0));
  EXPECT_EQ(asked.count().active, 1u);
  EXPECT_TRUE(asked.end(1 << 20 | 1));
  asked.put_back(1 << 20 | 1);
  EXPECT_EQ(asked.count().active, 1u);
  EXPECT_TRUE(asked.end(1 << 20 | 1));
  EXPECT_EQ(asked.count().active, 0u);
}

TEST(asked_requests, ids_of_any_form_cost_bounded_memory_and_never_count_below_none) {
  asked_requests asked;
  std::uint64_t id = 1;
  for (int i = 0; i < 100'000; ++i) asked.begin(id = id * 6364136223846793005u + 1);
  EXPECT_EQ(asked.count().total, 100'000u);
  EXPECT_LE(asked.count().active, asked_requests::most_slots);
  id = 1;
  for (int i = 0; i < 100'000; ++i) (void)asked.end(id = id * 6364136223846793005u + 1);
  EXPECT_EQ(asked.count().active, 0u);
}

TEST(request_tables, keep_apart_who_drives_and_who_does_not) {
  request_tables tables(3);
  const auto start = request_table::clock::now();
  const auto begin_here = [&](bool driving, std::chrono::seconds due) {
    return tables.begin({}, {}, start + due, {}, driving);
  };
  const auto driven = begin_here(true, 2s), other = begin_here(false, 1s);
  const auto last = begin_here(true, 3s);
  ASSERT_TRUE(driven && other && last);
  EXPECT_NE(*driven, *other);
  EXPECT_FALSE(begin_here(true, 1s));  // as many as allowed, of both together
  EXPECT_FALSE(begin_here(false, 1s));
  EXPECT_EQ(tables.count(), 3u);
  EXPECT_EQ(tables.next_deadline(), start + 1s);
  EXPECT_TRUE(tables.end(*other));
  EXPECT_FALSE(tables.end(*other));
  const auto due = tables.end_due(start + 2s);
  ASSERT_TRUE(due);
  EXPECT_EQ(due->id, *driven);
  EXPECT_FALSE(tables.end_due(start + 2s));
  tables.close();
  EXPECT_FALSE(begin_here(true, 1s));
  EXPECT_FALSE(begin_here(false, 1s));
  EXPECT_TRUE(tables.end_any());
  EXPECT_FALSE(tables.end_any());
}

TEST(body_memory, bodies_may_be_dropped_anywhere_and_outlive_their_thread) {
  std::vector<body> kept;
  const auto make = [&](int count) {
    for (int i = 0; i < count; ++i) {
      fresh_body made = new_body(1000);
      std::memset(made.bytes, 'a' + i % 26, 1000);
      kept.push_back(std::move(made.content));
    }
  };
  std::thread([&] { make(100); }).join();  // its pool goes with the last of them
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(kept[static_cast<std::size_t>(i)].text(),
              std::string(1000, static_cast<char>('a' + i % 26)));
  }
  std::thread([&] { kept.erase(kept.begin() + 50, kept.end()); }).join();
  kept.clear();
  for (int round = 0; round < 10; ++round) {  // made here, dropped there, made of the same again
    make(100);
    std::thread([&] { kept.erase(kept.begin() + 30, kept.end()); }).join();
    kept.clear();
  }
  make(10);
  std::thread([&] {
    make(10);
    kept.erase(kept.begin(), kept.begin() + 10);
  }).join();
}

}  // namespace
}  // namespace ferry
