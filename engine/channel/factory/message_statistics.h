// How messages of each kind fared: how many, how many failed, how long they took.
// Units     milliseconds; avg is a true mean of those whose time is known.
// Threads   any. Counting takes one short lock of its kind; nothing is allocated.
// Source    engine/channel/factory/README.md, "Monitoring".
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

#include "engine/channel/message.h"

namespace ferry {

struct message_report {
  message_kind kind = message_kind::execution_request;
  std::uint64_t total = 0;
  std::uint64_t success = 0;
  std::uint64_t error = 0;
  std::uint64_t timed = 0;  // those that avg, max and min are of
  double avg_processing_ms = 0;
  double max_processing_ms = 0;
  double min_processing_ms = 0;
};

class message_statistics {
 public:
  // `took` unset: not known, which says nothing about success.
  void count(message_kind kind, bool success,
             std::optional<std::chrono::nanoseconds> took = {}) noexcept;
  message_report of(message_kind kind) const;
  std::uint64_t errors() const;  // of all kinds

 private:
  // message_kind's values run from 1 to 7; 0 is for those that we do not know.
  static constexpr std::size_t kinds = 8;
  struct counts {
    mutable std::mutex mutex;
    std::uint64_t total = 0;
    std::uint64_t success = 0;
    std::uint64_t timed = 0;
    std::chrono::nanoseconds sum{0};
    std::chrono::nanoseconds longest{0};
    std::chrono::nanoseconds shortest{0};
  };
  static std::size_t index_of(message_kind kind) noexcept {
    const auto index = static_cast<std::size_t>(kind);
    return index < kinds ? index : 0;
  }
  std::array<counts, kinds> counts_;
};

}  // namespace ferry
