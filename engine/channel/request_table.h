// Requests of ours that wait for an answer: from an id to what is to be done with it.
// Units     an id is a generation and a slot; never 0, not used again within 2^43 requests of a
//           slot.
// Threads   used by any thread: a spin lock held for a few instructions; by the driver: one at a
//           time, no lock. Of those that end one request, exactly one gets its callback.
// Memory    grows to the most that were ever in flight at once, at most `capacity`.
// Source    engine/channel/README.md, "Requests".
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
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

  enum class used_by : std::uint8_t { any_thread, driver };
  explicit request_table(std::uint32_t capacity, used_by who = used_by::any_thread)
      : capacity_(capacity), driven_(who == used_by::driver) {}

  // nullopt, with `done` untouched: as many as allowed are in flight, or close() was called.
  std::optional<std::uint64_t> begin(on_answer&& done, clock::time_point began,
                                     clock::time_point deadline, std::chrono::nanoseconds timeout);
  // Takes it out. nullopt: unknown, or ended by somebody else.
  std::optional<entry> end(std::uint64_t id);
  bool holds(std::uint64_t id);  // nobody has ended it
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
  friend class request_tables;
  static constexpr unsigned index_bits = 20;
  static constexpr std::uint64_t driven_bit = 1u << index_bits;  // of an id: whose table
  // Of the driver's table: no lock, which would be a locked instruction or two of each request.
  class guard {
   public:
    explicit guard(request_table& table) : held_(table.driven_ ? nullptr : &table.lock_) {
      if (held_ != nullptr) held_->lock();
    }
    ~guard() {
      if (held_ != nullptr) held_->unlock();
    }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;

   private:
    spin_lock* const held_;
  };
  struct slot {
    std::uint64_t id = 0;  // 0: free
    std::uint64_t generation = 0;
    entry request;
  };
  void release(std::size_t index);

  const std::uint32_t capacity_;
  const bool driven_;
  spin_lock lock_;
  std::vector<slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t scan_ = 0;  // where end_due() goes on
  clock::time_point scanned_next_ = clock::time_point::max();
  bool closed_ = false;
  std::atomic<clock::time_point> next_{clock::time_point::max()};
  std::atomic<std::uint32_t> count_{0};  // written as the slots are
};

// Both tables of a channel: what is asked in callbacks, which is most where there is much, stands
// in one that only whoever drives touches.
// Threads   begin() with driving = true, end() of an answer, end_due(), end_any(), close(): with
//           the wheel. begin() with false, end() and holds() of what began so: any.
class request_tables {
 public:
  using entry = request_table::entry;
  using clock = request_table::clock;

  explicit request_tables(std::uint32_t capacity)
      : capacity_(capacity), driven_(capacity, request_table::used_by::driver), shared_(capacity) {}

  std::optional<std::uint64_t> begin(on_answer&& done, clock::time_point began,
                                     clock::time_point deadline, std::chrono::nanoseconds timeout,
                                     bool driving) {
    if (count() >= capacity_) return std::nullopt;
    return (driving ? driven_ : shared_).begin(std::move(done), began, deadline, timeout);
  }
  std::optional<entry> end(std::uint64_t id) {
    return ((id & request_table::driven_bit) != 0 ? driven_ : shared_).end(id);
  }
  bool holds(std::uint64_t id) {
    return ((id & request_table::driven_bit) != 0 ? driven_ : shared_).holds(id);
  }
  std::optional<request_table::expired> end_due(clock::time_point now) {
    if (auto due = driven_.end_due(now)) return due;
    return shared_.end_due(now);
  }
  std::optional<entry> end_any() {
    if (auto any = driven_.end_any()) return any;
    return shared_.end_any();
  }
  void close() {
    driven_.close();
    shared_.close();
  }
  clock::time_point next_deadline() const noexcept {
    return std::min(driven_.next_deadline(), shared_.next_deadline());
  }
  std::uint32_t count() const noexcept { return driven_.count() + shared_.count(); }

 private:
  const std::uint32_t capacity_;
  request_table driven_, shared_;
};

}  // namespace ferry
