// The calls in flight of one client: from a call id to what waits for its answer.
// Units     slots; an id is a generation and a slot, never 0, not reused within 2^48 calls of a
//           slot.
// Threads   any; lock-free. Of several threads that end one call, exactly one gets its completion.
// Errors    what a completion throws ends the process (std::terminate).
// Memory    all slots are made at the start; their pages are touched only as deep as calls overlap.
// Source    engine/README.md, "Calls".
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "engine/client/completion.h"

namespace ferry {

class call_table {
 public:
  using clock = std::chrono::steady_clock;

  explicit call_table(std::uint32_t capacity);
  ~call_table();
  call_table(const call_table&) = delete;
  call_table& operator=(const call_table&) = delete;

  struct nothing {
    void operator()(std::uint64_t) const noexcept {}
  };
  // Enters a call and moves its completion in; nullopt, with `done` untouched, when `capacity`
  // calls are in flight. `prepare(id)` runs before anybody can end the call.
  template <class F, class Prepare = nothing>
  std::optional<std::uint64_t> begin(F& done, clock::time_point deadline,
                                     std::uint32_t function = 0, Prepare&& prepare = {}) {
    const auto index = take_slot();
    if (!index) return std::nullopt;
    slot& mine = slots_[*index];
    mine.done.emplace(std::move(done));
    mine.function.store(function, std::memory_order_relaxed);
    mine.began.store(0, std::memory_order_relaxed);
    const std::uint64_t id = ++mine.generation << index_bits | *index;
    prepare(id);
    enter(mine, id, deadline);
    return id;
  }
  // Of who began the call and could not send it: nobody can end it until it enters again, with the
  // same id, or is dropped with its completion. False: somebody else has ended it.
  bool retract(std::uint64_t id) noexcept { return take_out(id).has_value(); }
  void enter_again(std::uint64_t id, clock::time_point deadline) noexcept {
    enter(slot_of(id), id, deadline);
  }
  void drop(std::uint64_t id) noexcept {
    slot_of(id).done.reset();
    push_free(static_cast<std::uint32_t>(id & index_mask));
  }
  // Takes the call out, frees its place and hands its completion to `use`, which may begin the next
  // one. False: the id is unknown, or somebody else ended it.
  template <class Use>
  bool end(std::uint64_t id, Use&& use) noexcept {
    const auto index = take_out(id);
    if (!index) return false;
    completion done = std::move(slots_[*index].done);
    push_free(*index);
    use(done);
    return true;
  }
  // The same of whoever drives the client, one thread at a time: without a locked instruction for
  // the slot, which the next call takes, and without moving the completion. The slot in reserve is
  // free instead of ours, which is the reserve when the completion has run.
  template <class Use>
  bool end_driving(std::uint64_t id, Use&& use) noexcept {
    const auto index = take_out(id);
    if (!index) return false;
    if (reserve_ == nowhere) [[unlikely]] {  // inside another completion
      completion done = std::move(slots_[*index].done);
      free_driving(*index);
      use(done);
      return true;
    }
    free_driving(std::exchange(reserve_, nowhere));
    completion& done = slots_[*index].done;
    use(done);
    done.reset();
    reserve_ = *index;
    return true;
  }

  // Whether the call is in flight; it may end in the next instant.
  bool holds(std::uint64_t id) const noexcept {
    const std::uint64_t index = id & index_mask;
    return id != 0 && index < high_water_.load(std::memory_order_acquire) &&
           slots_[index].id.load(std::memory_order_relaxed) == id;
  }

  // When the call began, for those who ask who holds what. Relaxed: a call that ends in this
  // instant may leave its time to the next of its slot.
  void stamp(std::uint64_t id, clock::time_point began) noexcept {
    if (!holds(id)) return;
    slots_[id & index_mask].began.store(began.time_since_epoch().count(),
                                        std::memory_order_relaxed);
  }
  // each(id, function, began): `began` is the epoch for a call that began an instant ago.
  template <class Each>
  void each_in_flight(Each&& each) const {
    const std::uint32_t used = high_water_.load(std::memory_order_acquire);
    for (std::uint32_t index = 0; index < used; ++index) {
      const std::uint64_t id = slots_[index].id.load(std::memory_order_acquire);
      if (id == 0) continue;
      each(id, slots_[index].function.load(std::memory_order_relaxed),
           clock::time_point(clock::duration(slots_[index].began.load(std::memory_order_relaxed))));
    }
  }

  // Ends every call whose deadline has passed, or every call: each(id, completion&).
  template <class Each>
  void end_expired(clock::time_point now, Each&& each) {
    sweep(&now, each);
  }
  template <class Each>
  void end_all(Each&& each) {
    sweep(nullptr, each);
  }

  // No deadline lies before this one; it may be earlier than the earliest.
  clock::time_point next_deadline() const noexcept {
    return clock::time_point(clock::duration(earliest_.load(std::memory_order_relaxed)));
  }
  std::uint32_t in_flight() const noexcept;  // counted anew at each call: for statistics

 private:
  struct alignas(64) slot {
    std::atomic<std::uint64_t> id{0};  // 0 = not in flight
    std::uint64_t generation = 0;
    std::atomic<std::int64_t> deadline{0};
    std::atomic<std::uint32_t> next{0};  // in the free list: index + 1
    std::atomic<std::uint32_t> function{0};
    std::atomic<std::int64_t> began{0};
    completion done;
  };
  static constexpr std::uint64_t index_bits = 16;
  static constexpr std::uint64_t index_mask = (1u << index_bits) - 1;

  slot& slot_of(std::uint64_t id) noexcept { return slots_[id & index_mask]; }
  // Whoever gets the index owns the slot and its completion until it frees the slot.
  std::optional<std::uint32_t> take_out(std::uint64_t id) noexcept {
    const std::uint64_t index = id & index_mask;
    // acquire: pairs with the exchange in take_slot.
    if (id == 0 || index >= high_water_.load(std::memory_order_acquire)) return std::nullopt;
    std::uint64_t expected = id;
    // acquire: pairs with the release store in enter(); the completion is there.
    if (!slots_[index].id.compare_exchange_strong(expected, 0, std::memory_order_acquire)) {
      return std::nullopt;
    }
    return static_cast<std::uint32_t>(index);
  }

  std::optional<std::uint32_t> take_slot() noexcept;
  void enter(slot& mine, std::uint64_t id, clock::time_point deadline) noexcept;
  void push_free(std::uint32_t index) noexcept;
  void free_driving(std::uint32_t index) noexcept {
    // relaxed: only we store what is not 0, so it stays 0 until we do.
    if (spare_.load(std::memory_order_relaxed) == 0) {
      // release: pairs with the acquire in take_slot(); the slot is free.
      spare_.store(index + 1, std::memory_order_release);
    } else {
      push_free(index);
    }
  }
  void note_deadline(std::int64_t deadline) noexcept;

  template <class Each>
  void sweep(const clock::time_point* now, Each&& each) {
    constexpr auto never = clock::time_point::max().time_since_epoch().count();
    // seq_cst, with those of enter(): either we see the id of a call that begins meanwhile, or it
    // sees that its deadline is to be noted.
    if (now != nullptr) earliest_.store(never, std::memory_order_seq_cst);
    const std::uint32_t used = high_water_.load(std::memory_order_acquire);
    for (std::uint32_t index = 0; index < used; ++index) {
      // It also acquires: pairs with the store of the id in enter(); the deadline is there.
      const std::uint64_t id = slots_[index].id.load(std::memory_order_seq_cst);
      if (id == 0) continue;
      const std::int64_t deadline = slots_[index].deadline.load(std::memory_order_relaxed);
      if (now != nullptr && deadline > now->time_since_epoch().count()) {
        note_deadline(deadline);
        continue;
      }
      end(id, [&](completion& done) { each(id, done); });
    }
  }

  static constexpr std::uint32_t nowhere = ~std::uint32_t{0};

  std::uint32_t capacity_;
  std::uint32_t reserve_ = 0;  // of whoever drives: a slot beyond the capacity, or nowhere
  // Fresh pages of zeros, which are unused slots: those that calls never reach stay untouched.
  slot* slots_;
  std::atomic<std::uint32_t> high_water_{1};  // slots ever used; the first is the reserve
  // Free slots, last used first: index + 1 in the low half, a counter against ABA in the high half.
  alignas(pad_bytes) std::atomic<std::uint64_t> free_{0};
  std::atomic<std::uint32_t> spare_{0};  // a free slot: index + 1; stored by whoever drives
  std::atomic<std::int64_t> earliest_;
};

}  // namespace ferry
