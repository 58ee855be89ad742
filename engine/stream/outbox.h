// The sending half of a stream: how much the other side still allows, and whether it listens.
// Threads   "reader": whoever reads the session. "sender": one thread at a time, any.
// Source    engine/stream/README.md.
#pragma once
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

#include "engine/spin_lock.h"
#include "engine/stream/waiter.h"
#include "ring/record.h"
#include "shm/result.h"

namespace ferry {

class stream_outbox {
 public:
  using clock = std::chrono::steady_clock;

  explicit stream_outbox(stream_credit allowed) noexcept
      : items_(allowed.items), bytes_(static_cast<std::int64_t>(allowed.bytes)) {}

  // --- reader -----------------------------------------------------------------------------------
  // False: more than any honest reader allows. The other side broke the protocol.
  bool grant(stream_credit more);
  void progress(clock::time_point now) noexcept { progress_.store(now, std::memory_order_relaxed); }
  // No more items are wanted or possible. The first one counts.
  void close(call_error why);

  // --- sender -----------------------------------------------------------------------------------
  // Whether an item may be sent now; spent() when it was.
  bool open() const noexcept { return !closed_.load(std::memory_order_acquire); }
  bool may_send() const noexcept {
    return items_.load(std::memory_order_relaxed) > 0 && bytes_.load(std::memory_order_relaxed) > 0;
  }
  void spent(std::size_t bytes) noexcept {
    items_.fetch_sub(1, std::memory_order_relaxed);  // counts; the records carry the data
    bytes_.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
  }
  call_error why() const;  // after !open()
  // Waits for open() to change or may_send() to hold. False: there is no need to.
  bool wait(stream_waiter who);
  void stop_waiting();
  bool resumes() const noexcept {  // a coroutine waits; any thread
    const std::lock_guard guard(lock_);
    return waiter_.resume != nullptr;
  }
  // Waits for the end of open() alone, or for more credit. False: it is closed.
  bool watch_end(stream_waiter who);
  // When the other side last gave credit or told of progress; min(): never. What an idle clock of
  // the sender goes by.
  clock::time_point last_progress() const noexcept {
    return progress_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::int64_t most_items = std::int64_t{1} << 32;
  static constexpr std::int64_t most_bytes = std::int64_t{1} << 48;

  std::atomic<std::int64_t> items_;
  std::atomic<std::int64_t> bytes_;
  std::atomic<clock::time_point> progress_{clock::time_point::min()};
  std::atomic<bool> closed_{false};
  mutable spin_lock lock_;  // guards the two below
  stream_waiter waiter_;
  call_error why_;
};

}  // namespace ferry
