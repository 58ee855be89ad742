#include "engine/channel/asked_requests.h"

#include <bit>

#include "engine/channel/request_table.h"

namespace ferry {
namespace {

std::size_t slot_of(std::uint64_t id) {
  static_assert(asked_requests::most_slots <= 1u << request_table::index_bits);
  return id & (asked_requests::most_slots - 1);
}

}  // namespace

void asked_requests::begin(std::uint64_t id) {
  const std::size_t index = slot_of(id);
  const std::lock_guard guard(lock_);
  ++total_;
  if (id == 0) return;  // nobody can answer it
  if (index >= slots_.size()) slots_.resize(std::bit_ceil(index + 1));
  if (slots_[index] == 0) ++active_;  // else the peer has given up the one that is there
  slots_[index] = id;
}

bool asked_requests::end(std::uint64_t id) noexcept {
  const std::size_t index = slot_of(id);
  const std::lock_guard guard(lock_);
  if (id == 0 || index >= slots_.size() || slots_[index] != id) return false;
  slots_[index] = 0;
  --active_;
  return true;
}

void asked_requests::put_back(std::uint64_t id) noexcept {
  const std::size_t index = slot_of(id);
  const std::lock_guard guard(lock_);
  if (slots_[index] != 0) return;
  slots_[index] = id;
  ++active_;
}

}  // namespace ferry
