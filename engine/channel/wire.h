// Frames: what links carry. A fixed header, a head (names, texts, metadata), and the data.
// Layout    of a byte stream: frame_header (64 bytes, little-endian), head_size bytes of head,
//           data_size bytes of data. Of shared memory: the same fields in a record; the data first,
//           the head behind it. The head is a sequence of tag (1 byte), size (4 bytes), bytes.
// Units     bytes and milliseconds.
// Threads   plain functions.
// Errors    corrupt: bytes that no honest peer sends.  frame_too_large: a head over the limit.
// Source    engine/channel/README.md, "Frames". Numbers are append-only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/channel/message.h"
#include "ring/record.h"

namespace ferry {

inline constexpr std::uint32_t frame_magic = 0x48435246;  // "FRCH"
inline constexpr std::uint8_t frame_version = 1;
inline constexpr std::uint32_t max_head_bytes = 64 << 10;

// Up to 31 the kinds of messages; beyond, what channels say among themselves.
enum class frame_kind : std::uint8_t {
  last_message = 31,
  hello = 64,    // the first of whoever connected; see handshake.h
  welcome = 65,  // the answer to it
  refusal = 66,  // instead of a welcome, or at the end: code and text say why
  cancel = 67,   // the request of this id has been given up
  ping = 68,
  pong = 69,
  bye = 70,  // an orderly end: nothing follows
};

enum frame_flags : std::uint8_t {
  frame_asks = 1,     // request_id is the sender's; an answer is expected
  frame_answers = 2,  // request_id is the receiver's
  frame_graceful = 4,
};

struct frame_fields {
  std::uint8_t kind = 0;
  std::uint8_t flags = 0;
  std::uint8_t status = 0;  // outcome or health status
  std::uint32_t code = 0;
  std::uint64_t request_id = 0;
  std::uint64_t time_ms = 0;  // timeout of a request or shutdown, time taken of an answer
  std::uint32_t head_size = 0;
  std::uint64_t data_size = 0;

  bool is(frame_kind which) const noexcept { return kind == static_cast<std::uint8_t>(which); }
  bool is_message() const noexcept {
    return kind >= 1 && kind <= static_cast<std::uint8_t>(message_kind::error);
  }
  std::uint64_t wire_bytes() const noexcept;  // header, head and data
};

struct frame_header {
  std::uint32_t magic;
  std::uint8_t version;
  std::uint8_t kind;
  std::uint8_t flags;
  std::uint8_t status;
  std::uint64_t request_id;
  std::uint64_t time_ms;
  std::uint64_t data_size;
  std::uint32_t head_size;
  std::uint32_t code;
  std::uint64_t zero[3];
};
static_assert(sizeof(frame_header) == 64 && offsetof(frame_header, head_size) == 32);

inline std::uint64_t frame_fields::wire_bytes() const noexcept {
  return sizeof(frame_header) + head_size + data_size;
}

// Checks magic, version, kind and that the parts together are at most `max_bytes`.
result<frame_fields> read_header(std::span<const std::byte> header, std::uint64_t max_bytes);
// As write_header() puts it.
frame_header header_of(const frame_fields& fields) noexcept;
// Both field by field where the bytes are to be: a struct that is written in words and at once
// copied in wider pieces waits for its own stores.
void write_header(const frame_fields& fields, std::byte* into) noexcept;
result<void> read_header(std::span<const std::byte> header, std::uint64_t max_bytes,
                         frame_fields& into);

// The same in a record; its body is data and head.
record_fields record_of(const frame_fields& fields) noexcept;
result<frame_fields> read_record(const record_fields& record, std::uint64_t body_bytes,
                                 std::uint64_t max_bytes);

// The fields of a message, sizes included.
frame_fields fields_of(const message& what) noexcept;
// Writes the head, of the size that fields_of() gave.
void write_head(const message& what, std::span<std::byte> into) noexcept;
// A message from the fields and head of a frame; the caller adds the data.
result<void> read_message(const frame_fields& fields, std::span<const std::byte> head,
                          message& into);

}  // namespace ferry
