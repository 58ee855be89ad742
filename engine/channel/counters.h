// The counters behind channel_stats: only added to, by any thread.
// Threads   any; wait-free but for the first answer, which makes the table of latencies.
// Source    engine/channel/README.md, "Statistics".
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "engine/channel/stats.h"

namespace ferry {

struct channel_counters {
 public:
  ~channel_counters() { delete cells_.load(std::memory_order_relaxed); }

  static void add(std::atomic<std::uint64_t>& to, std::uint64_t count = 1) noexcept {
    to.fetch_add(count, std::memory_order_relaxed);  // a number, publishes nothing
  }
  void answered(std::chrono::nanoseconds took);
  void copy_to(channel_stats& into) const;

  std::atomic<std::uint64_t> messages_sent{0}, messages_received{0};
  std::atomic<std::uint64_t> bytes_sent{0}, bytes_received{0};
  std::atomic<std::uint64_t> connection_errors{0}, timeout_errors{0};
  std::atomic<std::uint64_t> late_answers{0}, cancels_sent{0}, cancels_received{0};
  std::atomic<std::uint64_t> heartbeats_sent{0};
  std::atomic<std::uint64_t> latency_sum_ns{0};

 private:
  using table = std::array<std::atomic<std::uint32_t>, latency_histogram::buckets>;
  std::atomic<table*> cells_{nullptr};
};

}  // namespace ferry
