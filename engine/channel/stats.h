// What a channel counted: a copy, taken while it goes on counting.
// Units     bytes as on the wire, headers included; times as the names say.
// Threads   counters are atomics that the data path only adds to; a copy may be taken by any
//           thread. Each number is exact, the numbers of one copy may be apart by what happens
//           while they are read.
// Source    engine/channel/README.md, "Statistics".
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ferry {

// How long answers took: 1 us steps up to 64 us, then 32 steps to each doubling, up to an hour.
class latency_histogram {
 public:
  static constexpr unsigned exact_us = 64;
  static constexpr unsigned steps_per_doubling = 32;
  static constexpr std::size_t buckets = exact_us + 26 * steps_per_doubling;

  static std::size_t bucket_of(std::uint64_t us) noexcept;
  static std::uint64_t lowest_in(std::size_t bucket) noexcept;  // us

  void add(std::chrono::nanoseconds took) noexcept;

  std::uint64_t count() const noexcept { return count_; }
  double mean_us() const noexcept;  // of what was added, not of buckets
  // The lower edge of the bucket in which that part of all lies. 0: nothing was added.
  std::uint64_t percentile_us(double fraction) const noexcept;
  std::uint64_t in_bucket(std::size_t bucket) const noexcept { return counts_[bucket]; }

 private:
  friend struct channel_counters;
  std::array<std::uint32_t, buckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
};

struct channel_stats {
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint32_t connection_errors = 0;  // handshakes refused, links lost, protocol broken
  std::uint32_t timeout_errors = 0;     // requests that ended without an answer in time
  double avg_latency_ms = 0;            // a true mean, of requests that were answered
  std::uint64_t uptime_seconds = 0;     // since connected

  std::uint64_t requests_in_flight = 0;
  // Bytes not yet handed to the kernel or the ring: in the outbox, or waiting for room there.
  std::uint64_t send_queue_depth = 0;
  std::uint64_t send_queue_peak = 0;
  std::uint64_t late_answers = 0;  // answers to requests that had ended
  std::uint64_t cancels_sent = 0;
  std::uint64_t cancels_received = 0;
  std::uint64_t inbox_depth = 0;  // messages that wait for receive()
  std::uint64_t heartbeats_sent = 0;
  std::uint64_t reconnects = 0;  // of whoever replaces channels; a channel itself counts none
  latency_histogram latency;
};

}  // namespace ferry
