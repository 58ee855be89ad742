// Requests of ours that wait for an answer: from an id to what is to be done with it.
// Units     an id is a generation and a slot; never 0, not used again within 2^44 requests of a
//           slot.
// Threads   any; a spin lock held for a few instructions. Of those that end one request, exactly
//           one gets its callback, and runs it without the lock.
// Memory    grows to the most that were ever in flight at once, at most `capacity`.
// Source    engine/channel/README.md, "Requests".
#pragma once
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/channel/channel.h"
#include "engine/spin_lock.h"

namespace ferry {

class request_table {
 public:
  using clock = std::chrono::steady_clock;
  struct entry {
    on_answer done;
    clock::time_point began;
    clock::time_point deadline;
    std::chrono::nanoseconds timeout{};
  };

  explicit request_table(std::uint32_t capacity) : capacity_(capacity) {}

  // nullopt, with `request` untouched: as many as allowed are in flight, or close() was called.
  std::optional<std::uint64_t> begin(entry& request);
  // Takes it out. nullopt: unknown, or ended by somebody else.
  std::optional<entry> end(std::uint64_t id);
  struct expired {
    std::uint64_t id;
    entry request;
  };
  // One that is due; nullopt: none, and next_deadline() is exact again.
  std::optional<expired> end_due(clock::time_point now);
  std::optional<entry> end_any();
  void close();  // nothing begins any more

  // No deadline lies before this one.
  clock::time_point next_deadline() const noexcept { return next_.load(std::memory_order_relaxed); }
  std::uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned index_bits = 20;
  struct slot {
    std::uint64_t id = 0;  // 0: free
    std::uint64_t generation = 0;
    entry request;
  };
  entry take(std::size_t index);

  const std::uint32_t capacity_;
  mutable spin_lock lock_;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t scan_ = 0;  // where end_due() goes on
  clock::time_point scanned_next_ = clock::time_point::max();
  bool closed_ = false;
  std::atomic<clock::time_point> next_{clock::time_point::max()};
  std::atomic<std::uint32_t> count_{0};
};

}  // namespace ferry
