// Who drives a session: one thread at a time reads and waits for all; the others sleep until their
// own answer has come or the wheel is free.
// Threads   any. Uncontended, taking and leaving the wheel costs one atomic exchange each.
// Lifetime  a follower lives on its thread's stack, linked only while that thread is in follow().
// Source    engine/README.md, "Driving".
#pragma once
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

namespace ferry {

// One blocked thread. `arrived` is set by whoever completes what it waits for.
class follower {
 public:
  bool arrived() const noexcept {
    // acquire: pairs with the release in arrive(); the outcome is written.
    return state_.load(std::memory_order_acquire) >= has_arrived;
  }
  // The waiting thread may return and end this object as soon as the state is stored.
  void arrive() noexcept;
  // Sleeps until it has arrived (true) or the deadline has passed, while somebody else drives.
  bool sleep(std::chrono::steady_clock::time_point deadline) noexcept;
  // The same, from the waiting thread itself.
  void arrive_here() noexcept { state_.store(has_arrived, std::memory_order_relaxed); }

 private:
  friend class driver;
  enum : std::uint32_t {
    waiting = 0,
    sleeping = 1,
    promoted = 2,
    has_arrived = 3,
    arrived_promoted = 4,
  };
  std::atomic<std::uint32_t> state_{waiting};
  follower* next_ = nullptr;  // in driver::first_, under its mutex
};

class driver {
 public:
  using clock = std::chrono::steady_clock;

  bool try_take() noexcept {
    bool taken = false;
    // acquire: pairs with the release of the last driver; what it did to the session is done.
    if (!taken_.compare_exchange_strong(taken, true, std::memory_order_acquire)) return false;
    owner_.store(self(), std::memory_order_relaxed);
    return true;
  }
  // Leaves the wheel and wakes one follower, if any, to take it.
  void leave() noexcept;
  // Whoever followed and goes without having taken the wheel passes on: it may be the one that was
  // woken to take it.
  void pass_on() noexcept;
  // True on the thread that drives: inside a callback. It must not wait for an answer.
  bool mine() const noexcept { return owner_.load(std::memory_order_relaxed) == self(); }

  // Threads that wait without sleeping: they look for what they wait for, take the wheel for a
  // moment if nobody has it, and let others run in between. While there are any, whoever leaves the
  // wheel wakes no sleeper; the last of the crowd does.
  bool crowded() const noexcept { return crowd_.load(std::memory_order_relaxed) != 0; }
  void join_crowd() noexcept { crowd_.fetch_add(1, std::memory_order_seq_cst); }
  void leave_crowd() noexcept {
    // seq_cst, with leave(): either the leaver finds the crowd empty, or we find the wheel free.
    if (crowd_.fetch_sub(1, std::memory_order_seq_cst) == 1) pass_on();
  }

  // Sleeps until `me` has arrived, the wheel may be free, or the deadline has passed. True if it
  // was woken to take the wheel: then it takes it, or passes on.
  bool follow(follower& me, std::optional<clock::time_point> deadline);

 private:
  static const void* self() noexcept {
    static thread_local const char here = 0;
    return &here;
  }
  void wake_one() noexcept;
  void unlink(follower& me);

  std::atomic<bool> taken_{false};
  std::atomic<const void*> owner_{nullptr};
  std::atomic<std::uint32_t> crowd_{0};
  std::atomic<std::uint32_t> followers_{0};  // linked or about to be
  std::mutex mutex_;
  follower* first_ = nullptr;
};

}  // namespace ferry
