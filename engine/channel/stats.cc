#include "engine/channel/stats.h"

#include <algorithm>
#include <bit>

#include "engine/channel/counters.h"

namespace ferry {

std::size_t latency_histogram::bucket_of(std::uint64_t us) noexcept {
  if (us < exact_us) return us;
  const auto doubling = static_cast<unsigned>(std::bit_width(us)) - 7;  // 0 for 64 to 127
  const std::size_t step = us >> (doubling + 1);                        // 32 to 63
  return std::min<std::size_t>(exact_us + doubling * steps_per_doubling + step - steps_per_doubling,
                               buckets - 1);
}

std::uint64_t latency_histogram::lowest_in(std::size_t bucket) noexcept {
  if (bucket < exact_us) return bucket;
  const std::size_t past = bucket - exact_us;
  const std::size_t doubling = past / steps_per_doubling;
  return (past % steps_per_doubling + steps_per_doubling) << (doubling + 1);
}

void latency_histogram::add(std::chrono::nanoseconds took) noexcept {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
  ++counts_[bucket_of(ns / 1000)];
  ++count_;
  sum_ns_ += ns;
}

double latency_histogram::mean_us() const noexcept {
  return count_ == 0 ? 0 : static_cast<double>(sum_ns_) / 1e3 / static_cast<double>(count_);
}

std::uint64_t latency_histogram::percentile_us(double fraction) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(fraction * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    seen += counts_[bucket];
    if (seen > wanted || (seen == count_ && count_ != 0)) return lowest_in(bucket);
  }
  return 0;
}

void channel_counters::answered(std::chrono::nanoseconds took) {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
  table* cells = cells_.load(std::memory_order_relaxed);
  if (cells == nullptr) {
    // Only a channel that gets answers pays for the table. release: pairs with copy_to().
    cells = new table();
    cells_.store(cells, std::memory_order_release);
  }
  auto& cell = (*cells)[latency_histogram::bucket_of(ns / 1000)];
  cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  latency_sum_ns.add(ns);
}

void channel_counters::copy_to(channel_stats& into) const {
  into.messages_sent = messages_sent.get();
  into.messages_received = messages_received.get();
  into.bytes_sent = bytes_sent.get();
  into.bytes_received = bytes_received.get();
  into.connection_errors = static_cast<std::uint32_t>(connection_errors.get());
  into.timeout_errors = static_cast<std::uint32_t>(timeout_errors.get());
  into.late_answers = late_answers.get();
  into.cancels_sent = cancels_sent.get();
  into.cancels_received = cancels_received.get();
  into.heartbeats_sent = heartbeats_sent.get();
  into.latency.sum_ns_ = latency_sum_ns.get();
  if (const table* const cells = cells_.load(std::memory_order_acquire)) {
    for (std::size_t i = 0; i < cells->size(); ++i) {
      into.latency.counts_[i] = (*cells)[i].load(std::memory_order_relaxed);
      into.latency.count_ += into.latency.counts_[i];
    }
  }
  into.avg_latency_ms = into.latency.mean_us() / 1e3;
}

}  // namespace ferry
