// Where things lie in a control segment, and the packets of the socket beside it.
// Layout    a control segment: control_block, then the returns cells, then the record ring, each at
//           the offset that the block names. Little-endian, written by its owner alone.
//           A packet: packet_header, then one of the structs below (or text). One packet = one
//           SEQPACKET message; descriptors ride on it as SCM_RIGHTS.
// Units     sizes and offsets in bytes unless the name ends in _cells.
// Source    engine/README.md, "Handshake" and "Packets". Numbers are append-only.
#pragma once
#include <cstdint>

#include "ring/doorbell.h"
#include "ring/record_ring.h"
#include "ring/returns_ring.h"

namespace ferry {

inline constexpr std::uint64_t control_magic = 0x3147455359525245;  // "ERRYSEG1"
inline constexpr std::uint32_t hello_magic = 0x59525246;            // "FRRY"
inline constexpr std::uint16_t protocol_version = 1;  // peers with another one refuse each other
inline constexpr std::uint16_t layout_version = 1;

// Feature bits of a hello: what a side can do, and what it cannot do without.
enum feature : std::uint64_t {
  feature_shared_memory = 1,  // control segments and body segments as memfds
  feature_futex_bell = 2,     // can be woken by a futex on the waker's bell
};
inline constexpr std::uint64_t features_known = feature_shared_memory | feature_futex_bell;

// What a peer may make us map or hold; beyond it a hello or a packet is refused.
inline constexpr std::uint64_t min_ring_bytes = 4096;
inline constexpr std::uint64_t max_ring_bytes = 64ull << 20;
inline constexpr std::uint64_t min_returns_cells = 16;
inline constexpr std::uint64_t max_returns_cells = 1ull << 16;
inline constexpr std::uint32_t min_inline_limit = 256;  // names and error texts travel inline
inline constexpr std::size_t max_peer_segments = 4096;
inline constexpr std::size_t max_packet_bytes = 1024;

struct control_block {
  std::uint64_t magic;
  std::uint16_t version;
  std::uint16_t zero_a;
  std::uint32_t zero_b;
  std::uint64_t returns_offset;
  std::uint64_t returns_cells;
  std::uint64_t ring_offset;
  std::uint64_t ring_bytes;
  std::uint64_t epoch;               // as in the hello: ties the segment to the socket it came over
  cursor<std_atomics> records_read;  // how far the owner has read the peer's record ring
  cursor<std_atomics> returns_taken;  // how far the owner has read the peer's returns ring
  sleep_words<std_atomics> sleep;
};
static_assert(offsetof(control_block, records_read) == 128);
static_assert(sizeof(control_block) == 640);

struct control_layout {
  std::uint64_t returns_offset;
  std::uint64_t ring_offset;
  std::uint64_t total_bytes;
};

// Sizes must lie within the limits above.
constexpr control_layout lay_out_control(std::uint64_t ring_bytes, std::uint64_t returns_cells) {
  constexpr std::uint64_t page = 4096;
  const std::uint64_t returns_offset = sizeof(control_block);
  const std::uint64_t ring_offset = (returns_offset + returns_cells * 8 + page - 1) & ~(page - 1);
  return {returns_offset, ring_offset, (ring_offset + ring_bytes + page - 1) & ~(page - 1)};
}

// A host may give numbers to that many names of functions; one more is corrupt.
inline constexpr std::uint32_t max_bound_names = 4096;

enum class packet_kind : std::uint32_t {
  hello = 1,    // first packet of either side; one descriptor: the control segment
  reject = 2,   // reject_packet and text: why the sender closes
  segment = 3,  // segment_packet; one descriptor: a body segment
  wakeup = 4,   // no body: look at the rings
  bye = 5,      // no body: an orderly end; nothing follows
};

struct packet_header {
  packet_kind kind;
  std::uint32_t size_bytes;  // of the whole packet
};

struct hello_packet {
  packet_header header;
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t role;  // 1 host, 2 worker
  std::uint64_t features_offered;
  std::uint64_t features_required;
  std::uint64_t control_bytes;
  std::uint64_t ring_bytes;
  std::uint64_t returns_cells;
  std::uint64_t epoch;  // random: key of the ready words of the sender's ring
  std::uint32_t pid;
  std::uint32_t clock_ms;  // coarse_ms() of the sender: tells whether both read the same clock
};
static_assert(sizeof(hello_packet) == 72);

struct reject_packet {
  packet_header header;
  std::uint32_t code;  // errc
  std::uint32_t zero;
};

struct segment_packet {
  packet_header header;
  std::uint32_t id;
  std::uint32_t zero;
  std::uint64_t size_bytes;
};

}  // namespace ferry
