// The ids of bodies that a process has finished reading, on their way back to the owner.
// Layout    `capacity` cells of 8 bytes, a power of two, in the reader's segment (it produces the
//           returns); the owner's position in the owner's segment.
//           A cell = lap tag (high 32 bits) and body id (low 32), one atomic word: no torn returns.
// Units     positions count cells; they only grow and may pass 2^64.
// Threads   try_push: any thread, lock-free. try_pop: one thread at a time, wait-free.
// Errors    full: the peer lent more than it may have out at once, so it is the peer's fault.
//           empty: later.  corrupt: an impossible position.
// Source    ring/README.md, "Returns ring".
#pragma once
#include <span>

#include "ring/claim.h"

namespace ferry {

template <class Atomics>
using return_cell = typename Atomics::template atomic<std::uint64_t>;

// Odd, so that a fresh page (zero) never looks like a cell of lap 0; one lap ago differs by 2.
constexpr std::uint32_t lap_tag(std::uint64_t position, std::uint64_t capacity) noexcept {
  return static_cast<std::uint32_t>(position / capacity * 2 + 1);
}

template <class Atomics = std_atomics>
class returns_producer {
 public:
  returns_producer(std::span<return_cell<Atomics>> cells, const cursor<Atomics>& peer_consumed,
                   std::uint64_t start = 0) noexcept
      : cells_(cells), room_(peer_consumed, cells.size(), start) {}

  result<void> try_push(std::uint32_t body_id) noexcept {
    const auto claimed = room_.try_claim([](std::uint64_t) { return std::uint64_t{1}; });
    if (!claimed) return claimed.error();
    const std::uint64_t tag = lap_tag(claimed->position, cells_.size());
    // sync(returns.cell) release: pairs with the acquire load in try_pop; our reads of the body are
    // over before its owner uses the memory again. Dying before this line keeps the body lent: its
    // owner takes it back when the session ends.
    cells_[claimed->position & (cells_.size() - 1)].store(tag << 32 | body_id,
                                                          std::memory_order_release);
    return {};
  }

 private:
  std::span<return_cell<Atomics>> cells_;
  room<Atomics> room_;
};

template <class Atomics = std_atomics>
class returns_consumer {
 public:
  returns_consumer(std::span<const return_cell<Atomics>> cells, cursor<Atomics>& mine,
                   std::uint64_t start = 0) noexcept
      : cells_(cells), mine_(&mine), position_(start), published_(start) {}

  // The next returned id. Any 32-bit value may come: the loan book decides whether it is ours.
  result<std::uint32_t> try_pop() noexcept {
    // sync(returns.cell) acquire: pairs with the release store in try_push.
    const std::uint64_t cell =
        cells_[position_ & (cells_.size() - 1)].load(std::memory_order_acquire);
    if (cell >> 32 != lap_tag(position_, cells_.size())) return error{errc::empty};
    ++position_;
    if (position_ - published_ >= cells_.size() / 8) give_back();
    return static_cast<std::uint32_t>(cell);
  }

  void give_back() noexcept {
    if (published_ == position_) return;
    published_ = position_;
    // sync(ring.free) release: pairs with the acquire load in room::look_at_peer; the cells have
    // been read before the producer overwrites them.
    mine_->position.store(position_, std::memory_order_release);
  }

 private:
  std::span<const return_cell<Atomics>> cells_;
  cursor<Atomics>* mine_;
  std::uint64_t position_;
  std::uint64_t published_;
};

}  // namespace ferry
