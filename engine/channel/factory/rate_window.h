// How fast totals that only grow have grown lately: measured over the time that has really passed
// between two samples, not over the time that should have.
// Threads   one at a time.
// Source    engine/channel/factory/README.md, "Monitoring".
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>

namespace ferry {

struct monitored_totals {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  std::chrono::nanoseconds cpu_time{0};
};

struct monitored_rates {
  std::chrono::nanoseconds window{0};  // what the others were measured over; 0: nothing was
  double messages_per_second = 0;
  double bytes_per_second = 0;
  double error_rate = 0;   // errors for each message, at most 1
  double cpu_percent = 0;  // 100 is one CPU
};

class rate_window {
 public:
  static constexpr std::size_t most_samples = 1000;  // more make the window shorter
  using time_point = std::chrono::steady_clock::time_point;

  rate_window(std::chrono::nanoseconds length, time_point began, monitored_totals from)
      : length_(length), samples_{{began, from}} {}

  // What has grown since the latest sample that is at least a window old, else since the first.
  monitored_rates add(time_point now, const monitored_totals& totals) {
    while (samples_.size() > 1 && samples_[1].at <= now - length_) samples_.pop_front();
    const sample from = samples_.front();
    // A clock that stands or runs back tells nothing.
    if (now <= samples_.back().at) return last_;
    samples_.push_back({now, totals});
    if (samples_.size() > most_samples) samples_.pop_front();
    const std::chrono::duration<double> passed = now - from.at;
    const auto per_second = [&](std::uint64_t then, std::uint64_t by_now) {
      return static_cast<double>(by_now - then) / passed.count();
    };
    const auto messages = totals.messages - from.totals.messages;
    const auto errors = totals.errors - from.totals.errors;
    last_.window = now - from.at;
    last_.messages_per_second = per_second(from.totals.messages, totals.messages);
    last_.bytes_per_second = per_second(from.totals.bytes, totals.bytes);
    last_.error_rate = errors == 0 ? 0
                       : errors >= messages
                           ? 1
                           : static_cast<double>(errors) / static_cast<double>(messages);
    const std::chrono::duration<double> cpu = totals.cpu_time - from.totals.cpu_time;
    last_.cpu_percent = 100 * cpu / passed;
    return last_;
  }

 private:
  struct sample {
    time_point at;
    monitored_totals totals;
  };
  std::chrono::nanoseconds length_;
  std::deque<sample> samples_;
  monitored_rates last_;
};

}  // namespace ferry
