#include "engine/channel/request_table.h"

#include <algorithm>

namespace ferry {

std::optional<std::uint64_t> request_table::begin(on_answer&& done, clock::time_point began,
                                                  clock::time_point deadline,
                                                  std::chrono::nanoseconds timeout) {
  const guard held(*this);
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
  mine.request.done = std::move(done);
  mine.request.began = began;
  mine.request.deadline = deadline;
  mine.request.timeout = timeout;
  if (deadline < next_.load(std::memory_order_relaxed)) {
    next_.store(deadline, std::memory_order_relaxed);
  }
  scanned_next_ = std::min(scanned_next_, deadline);
  count_.store(count() + 1, std::memory_order_relaxed);
  return mine.id;
}

// With what it held already moved out.
void request_table::release(std::size_t index) {
  slots_[index].id = 0;
  free_.push_back(static_cast<std::uint32_t>(index));
  count_.store(count() - 1, std::memory_order_relaxed);
}

std::optional<request_table::entry> request_table::end(std::uint64_t id) {
  const std::size_t index = id & ((1u << index_bits) - 1);
  const guard held(*this);
  if (id == 0 || index >= slots_.size() || slots_[index].id != id) return std::nullopt;
  std::optional<entry> ended(std::move(slots_[index].request));
  release(index);
  return ended;
}

bool request_table::holds(std::uint64_t id) {
  const std::size_t index = id & ((1u << index_bits) - 1);
  const guard held(*this);
  return id != 0 && index < slots_.size() && slots_[index].id == id;
}

std::optional<request_table::expired> request_table::end_due(clock::time_point now) {
  const guard held(*this);
  if (scan_ == 0) scanned_next_ = clock::time_point::max();
  while (scan_ < slots_.size()) {
    const std::size_t index = scan_++;
    slot& each = slots_[index];
    if (each.id == 0) continue;
    if (each.request.deadline <= now) {
      expired due{each.id, std::move(each.request)};
      release(index);
      return due;
    }
    scanned_next_ = std::min(scanned_next_, each.request.deadline);
  }
  scan_ = 0;
  next_.store(scanned_next_, std::memory_order_relaxed);
  return std::nullopt;
}

std::optional<request_table::entry> request_table::end_any() {
  const guard held(*this);
  if (count() == 0) return std::nullopt;
  while (scan_ < slots_.size()) {  // nothing begins any more: once through is enough
    const std::size_t index = scan_++;
    if (slots_[index].id == 0) continue;
    std::optional<entry> ended(std::move(slots_[index].request));
    release(index);
    return ended;
  }
  return std::nullopt;
}

void request_table::close() {
  const guard held(*this);
  closed_ = true;
  scan_ = 0;
}

}  // namespace ferry
