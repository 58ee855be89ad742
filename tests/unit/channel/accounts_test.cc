#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ferry
