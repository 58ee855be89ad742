// Frames that wait to be written to a byte stream, as the pieces of one gather write: headers and
// small bodies lie one behind the other in chunks, large bodies stay where they are.
// Units     bytes.
// Threads   any; a mutex held for a copy of at most copied_bytes. One writer at a time: whoever got
//           pieces from begin_write() owes an end_write(). stage() and settle(): one thread at a
//           time, without the mutex; close() and trim() not meanwhile.
// Memory    at most `limit` and one message; none while nothing is queued and after trim().
// Errors    of push: full, closed.
// Source    engine/channel/README.md, "Byte streams".
#pragma once
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "engine/channel/wire.h"

namespace ferry {

class frame_outbox {
 public:
  static constexpr std::size_t chunk_bytes = 32 << 10;
  static constexpr std::size_t copied_bytes = 4 << 10;  // larger bodies are not copied
  static constexpr std::size_t spare_chunks = 8;
  static constexpr std::size_t urgent_bytes = 64 << 10;  // beyond the limit

  explicit frame_outbox(std::uint64_t limit_bytes) : limit_(limit_bytes) {}

  // Moves the data out of `what`.
  result<void> push(const frame_fields& fields, message& what, bool urgent);
  // The same of the thread that drives: kept apart, so that many frames cost one lock, until
  // settle() puts them behind what is queued.
  result<void> stage(const frame_fields& fields, message& what, bool urgent);
  void settle() noexcept;
  std::uint64_t staged() const noexcept { return staged_bytes_.load(std::memory_order_relaxed); }
  bool any() const noexcept { return queued() != 0; }
  std::uint64_t queued() const noexcept {
    return queued_.load(std::memory_order_relaxed) + staged();
  }
  std::uint64_t peak() const noexcept { return peak_.load(std::memory_order_relaxed); }

  // The first pieces, to be written by the caller alone; 0: nothing there, or somebody else writes,
  // or the stream was full and nobody has said room() since. `most`: bytes in all, more than 0.
  std::size_t begin_write(std::span<iovec> pieces, std::size_t most = ~std::size_t{0});
  struct after_write {
    bool more;       // begin_write() again
    bool made_room;  // push() had failed and would not now
  };
  // `outcome`: bytes written, or -errno. Anything less than all: the stream is full, or broken.
  after_write end_write(std::int64_t outcome);
  bool full() const noexcept { return full_.load(std::memory_order_relaxed); }
  void room();  // the stream takes bytes again
  bool has_spares() noexcept;
  void trim() noexcept;  // gives back the memory of an empty outbox
  // Drops everything and takes no more. Waits for the write of another thread, which never blocks.
  void close() noexcept;

 private:
  struct piece {
    std::unique_ptr<std::byte[]> chunk;  // or null, and then `data` is it
    payload data;
    std::size_t filled = 0;
    std::size_t written = 0;
    const std::byte* bytes() const noexcept { return chunk ? chunk.get() : data.data(); }
  };
  using chunk_list = std::vector<std::unique_ptr<std::byte[]>>;
  template <class Pieces>
  static void append_frame(Pieces& to, chunk_list& spares, const frame_fields& fields,
                           message& what);
  template <class Pieces>
  static std::span<std::byte> append(Pieces& to, chunk_list& spares, std::size_t size_bytes);
  bool refuses(std::uint64_t size, bool urgent) const noexcept;
  error refuse(std::uint64_t size);

  const std::uint64_t limit_;
  std::mutex mutex_;
  std::deque<piece> pieces_;
  chunk_list spares_;          // chunks that were emptied
  std::size_t in_flight_ = 0;  // bytes between begin_write() and end_write()
  bool closed_ = false;
  bool refused_ = false;  // a push() failed since room was last made
  std::atomic<bool> full_{false};
  std::atomic<std::uint64_t> queued_{0}, peak_{0};

  // Of whoever stages.
  std::vector<piece> staged_;
  chunk_list staging_spares_;
  std::atomic<std::uint64_t> staged_bytes_{0};  // read by others
};

}  // namespace ferry
