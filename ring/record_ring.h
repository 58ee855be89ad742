// A ring of records from the threads of one process to one reader in another.
// Layout    `capacity` bytes, a power of two, in the producer's segment; the consumer's position in
//           the consumer's segment. Each process writes only its own.
// Units     positions and sizes count bytes; positions are multiples of 64 and may pass 2^64.
// Threads   try_push: any thread, lock-free; a thread that stalls between claim and publish delays
//           the reader, not the other writers. consumer: one thread at a time, wait-free.
// Lifetime  views: they borrow both mappings, which must outlive them.
// Errors    full, empty: later.  frame_too_large: never fits.  corrupt: the peer broke the layout;
//           it stays corrupt, close the session.
// Crashes   a producer that dies before the ready word leaves a record that never appears; a
//           consumer that dies leaves a ring that fills up. tests/fault/kill_test.cc kills at both.
// Source    ring/README.md, "Record ring".
#pragma once
#include <bit>
#include <span>

#include "ring/claim.h"
#include "ring/record.h"

namespace ferry {

constexpr std::uint64_t record_bytes(std::uint64_t inline_size) noexcept {
  return (sizeof(shared_record<std_atomics>) + inline_size + cache_line_bytes - 1) &
         ~std::uint64_t{cache_line_bytes - 1};
}

// The largest inline body of a ring: with padding it then takes less than half of the ring, so an
// emptied ring always has room for it, even while the reader holds back its last eighth.
constexpr std::uint64_t max_inline_bytes(std::uint64_t capacity) noexcept {
  return capacity / 4 - sizeof(shared_record<std_atomics>);
}

template <class Atomics = std_atomics>
class record_producer {
 public:
  // `ring`: ours, 64-byte aligned, a power of two of at least 1024 bytes.
  record_producer(std::span<std::byte> ring, const cursor<Atomics>& peer_consumed,
                  std::uint64_t key, std::uint64_t start = 0) noexcept
      : base_(ring.data()),
        capacity_(ring.size()),
        key_(key),
        room_(peer_consumed, ring.size(), start) {}

  // Copies both into the ring. `fields.inline_size` is set from `body`.
  result<void> try_push(record_fields fields, std::span<const std::byte> body = {}) noexcept {
    if (body.size() > max_inline_bytes(capacity_)) {
      return error{errc::frame_too_large, 0, "inline body", body.size(),
                   max_inline_bytes(capacity_)};
    }
    const std::uint64_t size = record_bytes(body.size());
    const auto claimed = room_.try_claim([&](std::uint64_t position) {
      const std::uint64_t to_end = capacity_ - (position & (capacity_ - 1));
      return to_end < size ? to_end + size : size;
    });
    if (!claimed) return claimed.error();
    std::uint64_t position = claimed->position;
    if (const std::uint64_t pad = claimed->size - size; pad != 0) {
      record_fields filler;
      filler.inline_size = static_cast<std::uint32_t>(pad - sizeof(shared_record<Atomics>));
      publish(position, filler, {});
      position += pad;
    }
    fields.inline_size = static_cast<std::uint32_t>(body.size());
    publish(position, fields, body);
    return {};
  }

  // Whether try_push would find room for an inline body of that size now, wherever the ring wraps.
  bool has_room(std::uint64_t inline_size) const noexcept {
    return room_.fits(2 * record_bytes(inline_size));
  }

  std::uint64_t in_use() const noexcept { return room_.in_use(); }  // bytes; statistics only

 private:
  void publish(std::uint64_t position, const record_fields& fields,
               std::span<const std::byte> body) noexcept {
    auto* at = reinterpret_cast<shared_record<Atomics>*>(base_ + (position & (capacity_ - 1)));
    if (const std::uint64_t last = body.size() % cache_line_bytes;
        last != 0 && last < sizeof at->ready) {
      // The body ends inside a word where an older lap may have left a ready word, which the bytes
      // of the body could turn into that of a later lap: nothing of it may stay.
      constexpr std::uint64_t nothing = 0;
      Atomics::write(reinterpret_cast<std::byte*>(at + 1) + (body.size() - last), &nothing,
                     sizeof nothing);
    }
    if (!body.empty()) Atomics::write(at + 1, body.data(), body.size());
    Atomics::write(&at->fields, &fields, sizeof fields);
    // sync(ring.record) release: pairs with the acquire load of `ready` in the consumer; publishes
    // the header and the body. Dying before this line leaves nothing that the consumer can see.
    at->ready.store(ready_word(position, key_), std::memory_order_release);
  }

  std::byte* base_;
  std::uint64_t capacity_;
  std::uint64_t key_;
  room<Atomics> room_;
};

template <class Atomics = std_atomics>
class record_consumer {
 public:
  // `ring`: the peer's, mapped read-only. `mine`: our position, in our segment.
  record_consumer(std::span<const std::byte> ring, cursor<Atomics>& mine, std::uint64_t key,
                  std::uint64_t start = 0) noexcept
      : base_(ring.data()),
        capacity_(ring.size()),
        key_(key),
        mine_(&mine),
        position_(start),
        published_(start) {}

  // Whether a record waits. One that is being published shows up on a later look.
  bool ready() const noexcept {
    // sync(ring.record) acquire: pairs with the release store in record_producer::publish.
    return next()->ready.load(std::memory_order_acquire) == ready_word(position_, key_);
  }

  // Hands the next record to on_record(const record_fields&, std::span<const std::byte> body). The
  // fields are a private copy. The body still lies in the peer's memory and is ours only until the
  // call returns: copy what you need, once. Errors: empty, corrupt.
  template <class OnRecord>
  result<void> try_pop(OnRecord&& on_record) {
    if (corrupt_) return error{errc::corrupt, 0, "record ring"};
    for (;;) {
      if (!ready()) return error{errc::empty};
      record_fields fields;
      Atomics::read(&fields, &next()->fields, sizeof fields);
      const std::uint64_t to_end = capacity_ - (position_ & (capacity_ - 1));
      if (fields.kind == record_kind::pad) {
        if (to_end == capacity_ || fields.inline_size + sizeof(shared_record<Atomics>) != to_end) {
          return spoil("padding that does not reach the end of the ring");
        }
        advance(to_end);
        continue;
      }
      if (fields.inline_size > max_inline_bytes(capacity_)) return spoil("inline body too large");
      const std::uint64_t size = record_bytes(fields.inline_size);
      if (size > to_end) return spoil("record past the end of the ring");
      on_record(static_cast<const record_fields&>(fields),
                std::span(reinterpret_cast<const std::byte*>(next() + 1), fields.inline_size));
      advance(size);
      return {};
    }
  }

  // Gives all that was read back to the producer. True if that was news to it, so that a producer
  // which sleeps for want of room has to be woken.
  bool give_back() noexcept {
    if (published_ == position_) return false;
    published_ = position_;
    // sync(ring.free) release: pairs with the acquire load in room::look_at_peer; our reads of
    // these records are over before the producer overwrites them.
    mine_->position.store(position_, std::memory_order_release);
    return true;
  }

  // True once an eighth of the ring is read and not given back: time for give_back(). Positions
  // given back in batches spare the producer a cache miss per record.
  bool owes_room() const noexcept { return position_ - published_ >= capacity_ / 8; }

 private:
  const shared_record<Atomics>* next() const noexcept {
    return reinterpret_cast<const shared_record<Atomics>*>(base_ + (position_ & (capacity_ - 1)));
  }
  void advance(std::uint64_t size) noexcept { position_ += size; }
  error spoil(const char* what) noexcept {
    corrupt_ = true;
    return error{errc::corrupt, 0, what};
  }

  const std::byte* base_;
  std::uint64_t capacity_;
  std::uint64_t key_;
  cursor<Atomics>* mine_;
  std::uint64_t position_;   // ours; the shared copy is for the peer, never read back
  std::uint64_t published_;  // the value of that copy
  bool corrupt_ = false;
};

}  // namespace ferry
