#include "engine/channel/asked_requests.h"

#include <bit>

namespace ferry {
namespace {

constexpr unsigned index_bits = 20;  // of an id, as request_table gives them out

// The peer's slot, and the bit above it: what shares a slot and differs there is kept apart.
std::size_t slot_of(std::uint64_t id) {
  const std::uint64_t index = id & (asked_requests::most_slots / 2 - 1);
  return index << 1 | (id >> index_bits & 1);
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
