// A peer that says and writes whatever a test wants: the socket by hand, the memory byte by byte.
// It shares no code with the engine. The structs below are its own copies of the wire and of the
// memory layout (engine/session/layout.h, ring/*.h), whose numbers are append-only: if one of them
// moves, these tests fail.
// Layout    a control segment: raw_control, four published words at fixed offsets, the returns
//           cells at 640, the record ring at the next page.
// Units     bytes; positions of the record ring are bytes, of the returns ring cells.
// Threads   one at a time, except poke(), which any thread may call.
// Lifetime  closes its end of the socket, its descriptors and mappings with itself.
// Source    engine/README.md, "Handshake" and "Packets"; ring/README.md.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/unique_fd.h"

namespace ferry {

// --- the wire, written down a second time
// ---------------------------------------------------------

struct raw_hello {
  std::uint32_t kind = 1;
  std::uint32_t size_bytes = 72;
  std::uint32_t magic = 0x59525246;
  std::uint16_t version = 1;
  std::uint16_t role = 0;  // 1 host, 2 worker
  std::uint64_t features_offered = 3;
  std::uint64_t features_required = 1;
  std::uint64_t control_bytes = 0;
  std::uint64_t ring_bytes = 0;
  std::uint64_t returns_cells = 0;
  std::uint64_t epoch = 0;
  std::uint32_t pid = 4711;
  std::uint32_t zero = 0;
};
static_assert(sizeof(raw_hello) == 72);

struct raw_reject {
  std::uint32_t kind = 2;
  std::uint32_t size_bytes = 16;
  std::uint32_t code = 10;
  std::uint32_t zero = 0;
};

struct raw_segment {
  std::uint32_t kind = 3;
  std::uint32_t size_bytes = 24;
  std::uint32_t id = 0;
  std::uint32_t zero = 0;
  std::uint64_t segment_bytes = 0;
};
static_assert(sizeof(raw_segment) == 24);

struct raw_header {
  std::uint32_t kind = 0;
  std::uint32_t size_bytes = 8;
};

struct raw_control {
  std::uint64_t magic = 0x3147455359525245;
  std::uint16_t version = 1;
  std::uint16_t zero_a = 0;
  std::uint32_t zero_b = 0;
  std::uint64_t returns_offset = 640;
  std::uint64_t returns_cells = 0;
  std::uint64_t ring_offset = 0;
  std::uint64_t ring_bytes = 0;
  std::uint64_t epoch = 0;
};
static_assert(sizeof(raw_control) == 56);

// Where the published words lie in a control segment.
enum raw_offset : std::size_t {
  records_read_at = 128,
  returns_taken_at = 256,
  asleep_at = 384,
  cpu_at = 392,
  bell_at = 512,
  returns_at = 640,
};

enum raw_kind : std::uint8_t {
  a_pad = 1,
  a_call = 2,
  a_reply = 3,
  a_failure = 4,
  a_resolve = 5,
  a_retire = 6,
};

struct raw_record {
  std::uint64_t ready = 0;
  std::uint64_t call = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t body_size = 0;
  std::uint64_t body_offset = 0;
  std::uint32_t body_segment = 0;
  std::uint32_t body_id = 0;
  std::uint32_t function = 0;
  std::uint32_t inline_size = 0;
  std::uint16_t code = 0;
  std::uint8_t kind = 0;
  std::uint8_t flags = 0;
  std::uint32_t spare = 0;
};
static_assert(sizeof(raw_record) == 64);

// --- memory made by hand
// --------------------------------------------------------------------------

struct memfd_recipe {
  std::uint64_t size_bytes = 0;
  bool take_pages = true;  // false: nothing but a hole
  int seals = -1;          // -1: the four that the engine asks for
  std::span<const std::byte> begin_with = {};
};
unique_fd make_memfd(const memfd_recipe& recipe);
int proper_seals();

// A memfd and a writable mapping of it, sealed afterwards like an honest owner's.
class raw_memory {
 public:
  explicit raw_memory(std::uint64_t size_bytes);
  ~raw_memory();
  raw_memory(const raw_memory&) = delete;
  raw_memory& operator=(const raw_memory&) = delete;
  int fd() const { return fd_.get(); }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  unique_fd fd_;
  std::span<std::byte> bytes_;
};

// --- the peer
// -------------------------------------------------------------------------------------

struct raw_packet {
  std::vector<std::byte> bytes;
  std::vector<unique_fd> fds;
  bool end = false;  // the other side closed
  std::uint32_t kind() const;
  std::uint32_t code() const;  // of a reject
  std::string text() const;    // of a reject
};

enum class plays : std::uint16_t { host = 1, worker = 2 };

class hostile_peer {
 public:
  explicit hostile_peer(plays role, std::uint64_t ring_bytes = 4096,
                        std::uint64_t returns_cells = 16);
  ~hostile_peer();
  hostile_peer(const hostile_peer&) = delete;
  hostile_peer& operator=(const hostile_peer&) = delete;

  unique_fd victims_end() { return std::move(far_end_); }  // once
  void hang_up() { socket_ = unique_fd(); }
  int socket() const { return socket_.get(); }

  // Packets. send() is false when the socket is full or the victim has gone.
  bool send(std::span<const std::byte> bytes, std::span<const int> fds = {});
  template <class T>
  requires std::is_trivially_copyable_v<T>
  bool send(const T& packet, std::span<const int> fds = {}) {
    return send(std::as_bytes(std::span(&packet, 1)), fds);
  }
  bool send_hello();  // as `hello` says, with the control segment
  bool send_segment(std::uint32_t id, const raw_memory& memory);
  raw_packet receive(std::chrono::milliseconds patience = std::chrono::seconds(5));
  bool take_hello();  // the victim's: maps its control segment
  bool sees_the_end(std::chrono::milliseconds patience = std::chrono::seconds(5));

  // Our record ring. put() writes at the next position and publishes it; the header's inline_size
  // is what the record says, whatever `text` holds.
  std::uint64_t put(raw_record record, std::string_view text = {});
  void put_at(std::uint64_t position, raw_record record, std::string_view text = {});
  void skip_to(std::uint64_t position) { write_position_ = position; }
  std::uint64_t next_position() const { return write_position_; }
  // Our returns ring: an id of the victim's that we claim to have finished with.
  void give_back(std::uint32_t body_id);

  // Any word of our control segment, at any time.
  template <class T>
  void poke(std::size_t offset, T value) {
    std::atomic_ref<T>(*reinterpret_cast<T*>(control->bytes().data() + offset))
        .store(value, std::memory_order_release);
  }

  // The victim's records, oldest first. Room is given back only by free_what_was_read().
  std::optional<raw_record> next_record(std::string* text = nullptr);
  void free_what_was_read() { poke(records_read_at, read_position_); }
  // Serves nobody: waits until the victim has published one.
  std::optional<raw_record> await_record(std::string* text = nullptr);
  // What the victim gave back to us, oldest first.
  std::optional<std::uint32_t> next_returned();

  std::uint64_t ring_offset() const;
  std::span<std::byte> ring() const { return control->bytes().subspan(ring_offset(), ring_bytes_); }
  const raw_hello& victims_hello() const { return theirs_; }
  std::uint64_t victims_word(std::size_t offset) const;
  std::uint64_t read_position() const { return read_position_; }

  raw_hello hello;                      // to be spoilt before send_hello()
  std::unique_ptr<raw_memory> control;  // ours

 private:
  std::uint64_t ring_bytes_;
  std::uint64_t returns_cells_;
  unique_fd socket_;
  unique_fd far_end_;
  std::uint64_t write_position_ = 0;
  std::uint64_t returns_position_ = 0;

  raw_hello theirs_;
  std::span<const std::byte> their_control_;
  std::uint64_t read_position_ = 0;
  std::uint64_t returned_position_ = 0;
};

}  // namespace ferry
