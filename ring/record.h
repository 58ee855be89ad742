// The record: what travels through a record ring. One cache line of header, then a small body.
// Layout    64 bytes, little-endian; `ready` is stored last and tells the reader that the rest is
//           there. The bytes of an inline body follow on the next line.
// Units     body_size, inline_size, body_offset: bytes. deadline_ns: nanoseconds left when sent.
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
  last = retire,
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
  std::uint16_t code = 0;          // errc of a failure
  record_kind kind = record_kind::pad;
  std::uint8_t flags = 0;   // none defined: sent as 0, ignored
  std::uint32_t spare = 0;  // sent as 0, ignored
};
static_assert(sizeof(record_fields) == 56);

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
