// Room in a ring, claimed by any thread of the one process that produces into it.
// Layout    private memory: nothing here is shared with the peer but the cursor that is read.
// Units     positions count bytes or cells, as the ring does; they only grow, and may pass 2^64.
// Threads   try_claim is lock-free: a failed compare-exchange means that another thread claimed.
// Errors    full: the consumer has not given enough back yet.  corrupt: its position is not between
//           what it gave back before and what was claimed; every later claim then fails too.
// Source    ring/README.md, "Claiming room".
#pragma once
#include <cstdint>

#include "ring/atomics.h"
#include "shm/result.h"

namespace ferry {

template <class Atomics = std_atomics>
class room {
 public:
  // Borrows `peer_consumed`, which lies in the peer's mapping. `capacity` in units, a power of two.
  room(const cursor<Atomics>& peer_consumed, std::uint64_t capacity, std::uint64_t start) noexcept
      : peer_consumed_(&peer_consumed), capacity_(capacity), tail_(start), freed_(start) {}

  struct claim {
    std::uint64_t position;  // first unit that now belongs to the caller
    std::uint64_t size;      // units
  };

  // Claims size_at(position) units at the next position. `size_at` lets a ring add padding at the
  // wrap; it must never ask for more than `capacity`.
  template <class SizeAt>
  result<claim> try_claim(SizeAt size_at) noexcept {
    if (corrupt_.load(std::memory_order_relaxed)) [[unlikely]] {  // a flag, guards no other data
      return error{errc::corrupt, 0, "ring position"};
    }
    std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // a hint: the exchange decides
    for (;;) {
      const std::uint64_t size = size_at(tail);
      // sync(room.freed) acquire: pairs with the release store of freed_ below, so the consumer's
      // reads that another of our threads saw finished are finished for us too.
      const std::uint64_t freed = freed_.load(std::memory_order_acquire);
      if (tail + size - freed > capacity_) {
        const result<std::uint64_t> seen = look_at_peer(freed);
        if (!seen) return seen.error();
        if (tail + size - *seen > capacity_) {
          // `tail` may be old news, and then so is the verdict: only the current one counts.
          const std::uint64_t now = tail_.load(std::memory_order_relaxed);
          if (now == tail) return error{errc::full, 0, "ring"};
          tail = now;
          continue;
        }
      }
      // relaxed: the claim orders nothing; the ready words that follow publish the contents.
      if (tail_.compare_exchange_weak(tail, tail + size, std::memory_order_relaxed)) {
        return claim{tail, size};
      }
    }
  }

  // Whether `size` units seem free just now: a hint, relaxed throughout. Whoever then writes claims
  // the room first, and acquires and checks there; so a position that cannot be is let pass here.
  bool fits(std::uint64_t size) const noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t peer = peer_consumed_->position.load(std::memory_order_relaxed);
    return tail - peer > capacity_ || tail + size - peer <= capacity_;
  }

  // Units claimed and not yet seen given back; an upper bound, for statistics. The two loads are of
  // two moments: a difference that cannot be says only "at most all of it".
  std::uint64_t in_use() const noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t used = tail - freed_.load(std::memory_order_relaxed);
    return used <= capacity_ ? used : capacity_;
  }

 private:
  result<std::uint64_t> look_at_peer(std::uint64_t freed) noexcept {
    // sync(ring.free) acquire: pairs with the release store of the consumer's position, so it has
    // finished reading what we are about to overwrite. Copied once, checked, then used.
    const std::uint64_t peer = peer_consumed_->position.load(std::memory_order_acquire);
    // What was consumed had been claimed before: an honest position lies in [freed, tail]. The tail
    // is read after the position, so it is not older; it may be newer by any number of laps of our
    // other threads, so its distance from the position says nothing. A position that no record
    // starts at is let pass: it only frees bytes of a record that the peer would have read itself.
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (peer - freed > tail - freed) {
      corrupt_.store(true, std::memory_order_relaxed);
      return error{errc::corrupt, 0, "ring position out of range"};
    }
    // sync(room.freed) release: pairs with the acquire load in try_claim of another thread. It may
    // overwrite a newer value of theirs: then they look at the peer once more than needed.
    freed_.store(peer, std::memory_order_release);
    return peer;
  }

  const cursor<Atomics>* peer_consumed_;  // mapped read-only
  std::uint64_t capacity_;
  alignas(pad_bytes) typename Atomics::template atomic<std::uint64_t> tail_;   // next to claim
  alignas(pad_bytes) typename Atomics::template atomic<std::uint64_t> freed_;  // peer's, as checked
  typename Atomics::template atomic<bool> corrupt_{false};
};

}  // namespace ferry
