#include "engine/client/call_table.h"

#include <sys/mman.h>

#include <new>

namespace ferry {

call_table::call_table(std::uint32_t capacity)
    : capacity_(capacity), earliest_(clock::time_point::max().time_since_epoch().count()) {
  FERRY_CHECK(capacity > 0 && capacity < (1u << index_bits));
  void* const pages = ::mmap(nullptr, (capacity + 1) * sizeof(slot), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  slots_ = static_cast<slot*>(pages);
}

call_table::~call_table() {
  const std::uint32_t used = high_water_.load(std::memory_order_acquire);
  for (std::uint32_t index = 0; index < used; ++index) std::destroy_at(&slots_[index]);
  ::munmap(slots_, (capacity_ + 1) * sizeof(slot));
}

std::optional<std::uint32_t> call_table::take_slot() noexcept {
  if (spare_.load(std::memory_order_relaxed) != 0) {
    // acquire: pairs with the release in free_driving(); the slot's last user is done with it.
    if (const std::uint32_t found = spare_.exchange(0, std::memory_order_acquire)) return found - 1;
  }
  // acquire: pairs with the release in push_free; the slot's last user is done with it.
  std::uint64_t head = free_.load(std::memory_order_acquire);
  for (;;) {
    const auto top = static_cast<std::uint32_t>(head);
    if (top == 0) break;
    const std::uint32_t after = slots_[top - 1].next.load(std::memory_order_relaxed);
    const std::uint64_t changed = ((head >> 32) + 1) << 32 | after;
    if (free_.compare_exchange_weak(head, changed, std::memory_order_acquire)) return top - 1;
  }
  std::uint32_t index = high_water_.load(std::memory_order_relaxed);
  do {
    if (index > capacity_) return std::nullopt;
    // release: pairs with the acquire in end() and sweep().
  } while (!high_water_.compare_exchange_weak(index, index + 1, std::memory_order_release,
                                              std::memory_order_relaxed));
  return index;
}

void call_table::enter(slot& mine, std::uint64_t id, clock::time_point deadline) noexcept {
  const std::int64_t when = deadline.time_since_epoch().count();
  mine.deadline.store(when, std::memory_order_relaxed);  // the store of the id publishes it
  // release: pairs with the acquire in end() and sweep(); the completion is there.
  if (deadline == clock::time_point::max()) {
    mine.id.store(id, std::memory_order_release);
  } else {
    mine.id.store(id, std::memory_order_seq_cst);  // against the store of earliest_ in sweep()
    note_deadline(when);
  }
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
  std::int64_t earliest = earliest_.load(std::memory_order_seq_cst);
  while (deadline < earliest &&
         !earliest_.compare_exchange_weak(earliest, deadline, std::memory_order_seq_cst)) {
  }
}

}  // namespace ferry
