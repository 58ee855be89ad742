#include "shm/loan_book.h"

#include <bit>

#include "shm/check.h"
#include "shm/coarse_clock.h"

namespace ferry {

loan_book::loan_book(std::uint32_t capacity, body_arena& arena, std::uint32_t first_generation)
    : arena_(arena),
      capacity_(capacity),
      first_generation_(first_generation),
      slot_bits_(static_cast<unsigned>(std::bit_width(capacity - 1))) {
  FERRY_CHECK(capacity >= 1 && capacity <= max_capacity);
}

result<body_id> loan_book::lend(const arena_block& block) {
  const std::lock_guard lock(mutex_);
  if (first_free_ == none) {
    if (loans_.size() == capacity_) {
      return error{errc::full, 0, "bodies that one peer may hold", capacity_ + 1ull, capacity_};
    }
    const std::uint32_t first = first_generation_ & ~0u >> slot_bits_;
    first_free_ = static_cast<std::uint32_t>(loans_.size());
    loans_.emplace_back();
    loans_.back().generation = first == 0 ? 1 : first;
    loans_.back().next_free = none;
  }
  const std::uint32_t slot = first_free_;
  loan& entry = loans_[slot];
  first_free_ = entry.next_free;
  entry.block = block;
  entry.lent = true;
  entry.since = coarse_now();
  ++outstanding_;
  outstanding_bytes_ += block.size_bytes;
  return body_id{entry.generation << slot_bits_ | slot};
}

result<arena_block> loan_book::take_out(body_id id) {
  const std::uint32_t slot = id & ((1u << slot_bits_) - 1);
  const std::lock_guard lock(mutex_);
  if (slot >= loans_.size()) {
    return error{errc::corrupt, 0, "returned body: no such slot", slot, loans_.size()};
  }
  if (!loans_[slot].lent || loans_[slot].generation != id >> slot_bits_) {
    return error{errc::corrupt, 0, "returned body: not lent"};
  }
  return close(slot);
}

result<void> loan_book::take_back(body_id id) {
  const auto block = take_out(id);
  if (!block) return block.error();
  arena_.free(*block);
  return {};
}

result<void> loan_book::withdraw(body_id id) {
  const auto block = take_out(id);
  if (!block) return block.error();
  return {};
}

std::size_t loan_book::take_back_all() noexcept {
  std::size_t taken = 0;
  for (std::uint32_t slot = 0;; ++slot) {
    std::unique_lock lock(mutex_);
    if (slot >= loans_.size()) break;
    if (!loans_[slot].lent) continue;
    const arena_block block = close(slot);
    lock.unlock();
    arena_.free(block);
    ++taken;
  }
  return taken;
}

std::vector<loan_book::holding> loan_book::holdings() const {
  const std::lock_guard lock(mutex_);
  std::vector<holding> out;
  out.reserve(outstanding_);
  for (const loan& each : loans_) {
    if (each.lent) out.push_back({each.block.size_bytes, each.since});
  }
  return out;
}

std::size_t loan_book::outstanding() const {
  const std::lock_guard lock(mutex_);
  return outstanding_;
}

std::uint64_t loan_book::outstanding_bytes() const {
  const std::lock_guard lock(mutex_);
  return outstanding_bytes_;
}

arena_block loan_book::close(std::uint32_t slot) noexcept {
  loan& entry = loans_[slot];
  entry.lent = false;
  entry.generation = generation_after(entry.generation);
  entry.next_free = first_free_;
  first_free_ = slot;
  --outstanding_;
  outstanding_bytes_ -= entry.block.size_bytes;
  return entry.block;
}

std::uint32_t loan_book::generation_after(std::uint32_t generation) const noexcept {
  const std::uint32_t next = (generation + 1) & (~0u >> slot_bits_);
  return next == 0 ? 1 : next;  // 0 is kept out, so that no id is 0
}

}  // namespace ferry
