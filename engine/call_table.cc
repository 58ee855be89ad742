#include "engine/call_table.h"

namespace ferry {

call_table::call_table(std::uint32_t capacity)
    : capacity_(capacity), slots_(new slot[capacity]),
      earliest_(clock::time_point::max().time_since_epoch().count()) {
  FERRY_CHECK(capacity > 0 && capacity < (1u << index_bits));
}

std::optional<std::uint64_t> call_table::begin(completion& done, clock::time_point deadline) {
  // acquire: pairs with the release in push_free; the slot's last user is done with it.
  std::uint64_t head = free_.load(std::memory_order_acquire);
  std::uint32_t index = 0;
  for (;;) {
    const auto top = static_cast<std::uint32_t>(head);
    if (top == 0) {
      index = high_water_.load(std::memory_order_relaxed);
      do {
        if (index == capacity_) return std::nullopt;
      } while (!high_water_.compare_exchange_weak(index, index + 1, std::memory_order_acq_rel));
      break;
    }
    const std::uint32_t after = slots_[top - 1].next.load(std::memory_order_relaxed);
    const std::uint64_t changed = ((head >> 32) + 1) << 32 | after;
    if (free_.compare_exchange_weak(head, changed, std::memory_order_acquire)) {
      index = top - 1;
      break;
    }
  }
  slot& mine = slots_[index];
  const std::uint64_t id = ++mine.generation << index_bits | index;
  mine.done = std::move(done);
  const std::int64_t when = deadline.time_since_epoch().count();
  mine.deadline.store(when, std::memory_order_relaxed);
  // release: pairs with the acquire in end() and sweep(); the completion is there.
  mine.id.store(id, std::memory_order_release);
  if (deadline != clock::time_point::max()) note_deadline(when);
  return id;
}

bool call_table::end(std::uint64_t id, completion& done) {
  const std::uint64_t index = id & ((1u << index_bits) - 1);
  if (id == 0 || index >= high_water_.load(std::memory_order_acquire)) return false;
  slot& theirs = slots_[index];
  std::uint64_t expected = id;
  if (!theirs.id.compare_exchange_strong(expected, 0, std::memory_order_acq_rel)) return false;
  done = std::move(theirs.done);
  push_free(static_cast<std::uint32_t>(index));
  return true;
}

std::uint32_t call_table::in_flight() const noexcept {
  std::uint32_t count = 0;
  const std::uint32_t used = high_water_.load(std::memory_order_acquire);
  for (std::uint32_t index = 0; index < used; ++index) {
    if (slots_[index].id.load(std::memory_order_relaxed) != 0) ++count;
  }
  return count;
}

void call_table::push_free(std::uint32_t index) noexcept {
  std::uint64_t head = free_.load(std::memory_order_relaxed);
  std::uint64_t changed = 0;
  do {
    slots_[index].next.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    changed = ((head >> 32) + 1) << 32 | (index + 1);
    // release: pairs with the acquire in begin().
  } while (!free_.compare_exchange_weak(head, changed, std::memory_order_release,
                                        std::memory_order_relaxed));
}

void call_table::note_deadline(std::int64_t deadline) noexcept {
  std::int64_t earliest = earliest_.load(std::memory_order_relaxed);
  while (deadline < earliest &&
         !earliest_.compare_exchange_weak(earliest, deadline, std::memory_order_relaxed)) {
  }
}

}  // namespace ferry
