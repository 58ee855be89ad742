// The record: what travels through a record ring. One cache line of header, then a small body.
// Layout    64 bytes, little-endian; `ready` is stored last and tells the reader that the rest is
//           there. The bytes of an inline body follow on the next line.
// Units     body_size, inline_size, body_offset: bytes. deadline_ns: nanoseconds left when sent (of
//           a credit: bytes).
// Source    ring/README.md, "Record".
#pragma once
#include <cstddef>
#include <cstdint>

#include "ring/atomics.h"

namespace ferry {

enum class record_kind : std::uint8_t {
  pad = 1,      // fills the end of the ring; the next record is at its start
  call = 2,     // invoke `function`; body = argument
  reply = 3,    // the result of `call`
  failure = 4,  // `call` failed with `code`; body = text (UTF-8)
  resolve = 5,  // body = a function's name; the reply's `function` is its number
  retire = 6,   // the sender has unmapped body segment `body_segment`: unmap it too
  cancel = 7,   // the caller gave `call` up; `code` says why. No answer is expected
  bind = 8,     // from now on `function`, a number that the host chose, means the name in the body
  item = 9,     // one item of a stream of `call`
  end = 10,     // no more items from this side; a worker's ends the call
  credit = 11,  // the reader of a stream of `call` allows the other side more, see credit_of()
  progress = 12,  // the function of `call` is at work: the reader's idle clock starts again
  ping = 13,      // to be answered at once, with the same `call`
  pong = 14,
  message = 32,  // of a channel (engine/channel/wire.h): body = data, then `function` bytes of head
};

// Bits of record_fields::flags.
enum record_flags : std::uint8_t {
  sends_items = 1,    // call: the caller will send items, and then an end
  wants_items = 2,    // call: the answer is items, and then an end
  raw_argument = 4,   // call: the argument of a typed function is bytes as they are
  is_error = 1,       // item: an error of this item alone, as a failure carries it; more may follow
  has_detail = 2,     // failure, item: the body is MessagePack [text, the function's own error]
  not_begun = 4,      // failure: the function has not run, nor will it
  call_goes_on = 1,   // a worker's end: of its items alone; the call's end comes later
  reads_no_more = 2,  // with that: not of its items; it wants no more of the host's
};

// Everything of a record but its ready word. A plain copy of it is what code works with.
struct record_fields {
  std::uint64_t call = 0;          // chosen by the caller, echoed by the answer
  std::uint64_t deadline_ns = 0;   // time left for the call; 0 = no limit
  std::uint64_t body_size = 0;     // of a body in an arena segment
  std::uint64_t body_offset = 0;   // from the start of that segment
  std::uint32_t body_segment = 0;  // 0 = the body is inline
  std::uint32_t body_id = 0;       // to be given back through the returns ring; 0 = inline
  std::uint32_t function = 0;      // number of the function, from a resolve
  std::uint32_t inline_size = 0;   // bytes that follow this header in the ring
  // errc of a failure or a cancel; of a call that sends items: how many ahead at most, 0 = any
  std::uint16_t code = 0;
  record_kind kind = record_kind::pad;
  std::uint8_t flags = 0;  // record_flags; others are sent as 0 and ignored
  // Of a credit: items. Of a call: when it was sent, in ms of the steady clock modulo 2^32, or 0:
  // not told. Else sent as 0, ignored.
  std::uint32_t spare = 0;
};
static_assert(sizeof(record_fields) == 56);

// How much more a stream's other side may send. A credit has no body and uses its fields.
struct stream_credit {
  std::uint32_t items = 0;
  std::uint64_t bytes = 0;
};
constexpr record_fields credit_record(std::uint64_t call, stream_credit more) noexcept {
  record_fields fields;
  fields.call = call;
  fields.deadline_ns = more.bytes;
  fields.spare = more.items;
  fields.kind = record_kind::credit;
  return fields;
}
constexpr stream_credit credit_of(const record_fields& credit) noexcept {
  return {credit.spare, credit.deadline_ns};
}

template <class Atomics>
struct alignas(cache_line_bytes) shared_record {
  typename Atomics::template atomic<std::uint64_t> ready;
  record_fields fields;
};
static_assert(sizeof(shared_record<std_atomics>) == cache_line_bytes);
static_assert(offsetof(shared_record<std_atomics>, fields) == 8);

// The ready word of the record at `position`. Nothing zeroes a ring, so the word must differ from
// every word an older lap left there: from headers, since positions never repeat, and from bytes of
// inline bodies, since their authors do not know `key`, which is random per session. Always odd,
// hence never the zero of a fresh page.
constexpr std::uint64_t ready_word(std::uint64_t position, std::uint64_t key) noexcept {
  return (position ^ key) | 1;
}

}  // namespace ferry
