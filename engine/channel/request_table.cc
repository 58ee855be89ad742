#include "engine/channel/request_table.h"

#include <algorithm>

namespace ferry {

std::optional<std::uint64_t> request_table::begin(entry& request) {
  const auto held = guard();
  if (closed_) return std::nullopt;
  if (free_.empty()) {
    if (slots_.size() >= std::min<std::size_t>(capacity_, (1u << index_bits) - 1)) {
      return std::nullopt;
    }
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  slot& mine = slots_[index];
  mine.id = ++mine.generation << (index_bits + 1) | (driven_ ? driven_bit : 0) | index;
  mine.request = std::move(request);
  if (mine.request.deadline < next_.load(std::memory_order_relaxed)) {
    next_.store(mine.request.deadline, std::memory_order_relaxed);
  }
  scanned_next_ = std::min(scanned_next_, mine.request.deadline);
  count_.store(count() + 1, std::memory_order_relaxed);
  return mine.id;
}

request_table::entry request_table::take(std::size_t index) {
  slot& mine = slots_[index];
  mine.id = 0;
  free_.push_back(static_cast<std::uint32_t>(index));
  count_.store(count() - 1, std::memory_order_relaxed);
  return std::move(mine.request);
}

std::optional<request_table::entry> request_table::end(std::uint64_t id) {
  const std::size_t index = id & ((1u << index_bits) - 1);
  const auto held = guard();
  if (id == 0 || index >= slots_.size() || slots_[index].id != id) return std::nullopt;
  return take(index);
}

std::optional<request_table::expired> request_table::end_due(clock::time_point now) {
  const auto held = guard();
  if (scan_ == 0) scanned_next_ = clock::time_point::max();
  while (scan_ < slots_.size()) {
    const std::size_t index = scan_++;
    slot& each = slots_[index];
    if (each.id == 0) continue;
    if (each.request.deadline <= now) {
      const std::uint64_t id = each.id;
      return expired{id, take(index)};
    }
    scanned_next_ = std::min(scanned_next_, each.request.deadline);
  }
  scan_ = 0;
  next_.store(scanned_next_, std::memory_order_relaxed);
  return std::nullopt;
}

std::optional<request_table::entry> request_table::end_any() {
  const auto held = guard();
  if (count() == 0) return std::nullopt;
  for (std::size_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].id != 0) return take(index);
  }
  return std::nullopt;
}

void request_table::close() {
  const auto held = guard();
  closed_ = true;
}

}  // namespace ferry
