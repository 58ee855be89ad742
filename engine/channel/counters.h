// The counters behind channel_stats: only added to.
// Threads   reading: any. Adding: any where it says so; what the thread that drives counts it adds
//           without a locked instruction, of which a message would else pay half a dozen.
// Source    engine/channel/README.md, "Statistics".
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "engine/channel/stats.h"

namespace ferry {

// A number to which one thread at a time adds: whoever has the wheel.
class driven_counter {
 public:
  void add(std::uint64_t count = 1) noexcept {
    // relaxed: a number, publishes nothing; the wheel orders those who add.
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// A number to which any thread adds, mostly the one that drives.
class shared_counter {
 public:
  void add(std::uint64_t count, bool driving) noexcept {
    if (driving) {
      driven_.add(count);
    } else {
      others_.fetch_add(count, std::memory_order_relaxed);
    }
  }
  std::uint64_t get() const noexcept {
    return driven_.get() + others_.load(std::memory_order_relaxed);
  }

 private:
  driven_counter driven_;
  std::atomic<std::uint64_t> others_{0};
};

struct channel_counters {
 public:
  ~channel_counters() { delete cells_.load(std::memory_order_relaxed); }

  void answered(std::chrono::nanoseconds took);  // with the wheel
  void copy_to(channel_stats& into) const;

  shared_counter messages_sent, bytes_sent;
  driven_counter messages_received, bytes_received;
  driven_counter connection_errors;
  shared_counter timeout_errors, cancels_sent;
  driven_counter late_answers, cancels_received;
  driven_counter heartbeats_sent;
  driven_counter latency_sum_ns;

 private:
  using table = std::array<std::atomic<std::uint32_t>, latency_histogram::buckets>;
  std::atomic<table*> cells_{nullptr};
};

}  // namespace ferry
