// The receiving half of a stream: items that came and were not taken yet, bounded by a window that
// the sender must respect, and how the stream ended.
// Units     a window and a credit count items, and bytes of their bodies. An item may exceed the
//           bytes that are left, but needs one left: memory is bounded by the window and one
//           item.
// Threads   "reader": whoever reads the session. "consumer": one thread at a time, any. Others as
//           noted.
// Source    engine/stream/README.md.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/body.h"
#include "engine/spin_lock.h"
#include "engine/stream/waiter.h"
#include "ring/record.h"
#include "shm/result.h"

namespace ferry {

// At least 1 of each; beyond 2^31 items and 2^47 bytes more makes no difference.
struct stream_window {
  std::uint32_t items = 1024;
  std::uint64_t bytes = 4 << 20;
};

// What the writer of a stream may send before it has heard of the reader's window.
inline constexpr stream_credit first_credit{16, 1 << 20};

struct stream_entry {
  body content;
  std::uint16_t code = 0;  // with flag is_error
  std::uint8_t flags = 0;  // record_flags
};

class stream_inbox {
 public:
  using clock = std::chrono::steady_clock;
  enum class seen { item, nothing, end };

  // `allowed`: what the sender may send before it hears from us.
  stream_inbox(stream_window window, stream_credit allowed) noexcept;

  // --- reader -----------------------------------------------------------------------------------
  // False: beyond the window. The sender broke the protocol.
  bool push(stream_entry&& entry);
  // The one answer of a call that sent items: outside the window, before finish().
  void push_last(body&& content);
  // Nothing follows. `why` empty: a regular end. The first one counts.
  void finish(std::optional<call_error> why);
  // The sender says that it is at work.
  void progress(clock::time_point now) noexcept;

  // --- consumer ---------------------------------------------------------------------------------
  seen take(stream_entry& out);
  // After `end`: why; empty for a regular one. Told once, then it is a regular end.
  std::optional<call_error> failure();
  // What the sender may send more, if it is worth telling: half a window or more was taken; or
  // something was, the sender stands still for want of credit, and it has not heard for a while.
  std::optional<stream_credit> owed() noexcept;
  // Waits for take() to have something. False: it has, and `who` is not kept.
  bool wait(stream_waiter who);
  void stop_waiting();  // afterwards nobody wakes `who` any more
  // Items that came and were not taken, for statistics; any thread.
  std::uint32_t waiting() const noexcept {
    const std::lock_guard guard(lock_);
    return static_cast<std::uint32_t>(came_.size());
  }
  bool finished() const noexcept {  // nothing follows what is here; any thread
    const std::lock_guard guard(lock_);
    return finished_;
  }
  // When the sender last told of progress; min(): never.
  clock::time_point last_progress() const noexcept;
  bool resumes() const noexcept {  // a coroutine waits; any thread
    const std::lock_guard guard(lock_);
    return waiter_.resume != nullptr;
  }
  // Drops what waits here and all that is still to come; ends. `why` is told once, unless all had
  // been read and the regular end had come.
  void discard(std::optional<call_error> why = {});

 private:
  bool ready() const noexcept { return !came_.empty() || finished_; }

  mutable spin_lock lock_;  // guards all but the consumer's own
  std::vector<stream_entry> came_;
  stream_waiter waiter_;
  bool finished_ = false;
  bool discarding_ = false;
  std::optional<call_error> failure_;
  std::int64_t items_allowed_;  // of what the sender may send, still to come
  std::int64_t bytes_allowed_;
  clock::time_point progress_ = clock::time_point::min();

  // the consumer's own
  std::vector<stream_entry> taking_;
  std::size_t taken_ = 0;  // of taking_
  stream_window window_;
  std::uint64_t items_owed_;  // taken, or never allowed yet, and not told
  std::uint64_t bytes_owed_;
  clock::time_point told_{};  // when the sender heard of credit last, to within a tick

  std::atomic<bool> spent_{false};  // the sender has no credit left; a hint for the consumer
};

}  // namespace ferry
