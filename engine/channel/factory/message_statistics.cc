#include "engine/channel/factory/message_statistics.h"

#include <algorithm>

namespace ferry {
namespace {

double in_ms(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

void message_statistics::count(message_kind kind, bool success,
                               std::optional<std::chrono::nanoseconds> took) noexcept {
  counts& mine = counts_[index_of(kind)];
  const std::lock_guard lock(mine.mutex);
  ++mine.total;
  if (success) ++mine.success;
  if (!took) return;
  mine.shortest = mine.timed == 0 ? *took : std::min(mine.shortest, *took);
  mine.longest = std::max(mine.longest, *took);
  mine.sum += *took;
  ++mine.timed;
}

message_report message_statistics::of(message_kind kind) const {
  const counts& mine = counts_[index_of(kind)];
  message_report report;
  report.kind = kind;
  const std::lock_guard lock(mine.mutex);
  report.total = mine.total;
  report.success = mine.success;
  report.error = mine.total - mine.success;
  report.timed = mine.timed;
  if (mine.timed == 0) return report;
  report.avg_processing_ms = in_ms(mine.sum) / static_cast<double>(mine.timed);
  report.max_processing_ms = in_ms(mine.longest);
  report.min_processing_ms = in_ms(mine.shortest);
  return report;
}

std::uint64_t message_statistics::errors() const {
  std::uint64_t sum = 0;
  for (const counts& each : counts_) {
    const std::lock_guard lock(each.mutex);
    sum += each.total - each.success;
  }
  return sum;
}

}  // namespace ferry
