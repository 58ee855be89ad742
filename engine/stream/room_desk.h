// What one side of a session still has to say, and who waits to say more, while the peer's ring is
// full.
// Threads   wanted, owe, wait, forget: any. serve: the thread that drives.
// Lifetime  a member of the source of the loop that owns the session.
#pragma once
#include <atomic>
#include <deque>
#include <mutex>

#include "engine/loop/loop_core.h"
#include "engine/session/owed.h"
#include "engine/session/session.h"
#include "engine/stream/waiter.h"

namespace ferry {

class room_desk {
 public:
  // A hint, for each turn of the loop.
  bool wanted() const noexcept {
    return owed_.any() || waited_for_.load(std::memory_order_relaxed);
  }
  bool owes() const noexcept { return owed_.any(); }
  std::size_t owed() const noexcept { return owed_.count(); }

  // To be sent as soon as there is room, in the order that owed.h says.
  void owe(const record_fields& fields, loan content = {}) {
    owed_.add(fields, std::move(content));
  }
  // Wakes `who` once, when there is room again. A thread's context is its own, for forget().
  void wait(stream_waiter who) {
    const std::lock_guard guard(mutex_);
    waiting_.push_back(who);
    waited_for_.store(true, std::memory_order_relaxed);
  }
  void forget(void* context) {
    const std::lock_guard guard(mutex_);
    const auto is_his = [&](const stream_waiter& each) { return each.context == context; };
    std::erase_if(waiting_, is_his);
    std::erase_if(due_, is_his);
  }

  void serve(session& to, loop_core& loop, loop_source& self) {
    const auto before = to.core().peer_progress();
    const bool all_sent = owed_.flush(to.core());
    if (waited_for_.load(std::memory_order_relaxed) &&
        (tried_ ? to.core().room_came_since(*tried_) : to.core().has_room())) {
      tried_ = before;
      const std::lock_guard guard(mutex_);
      due_.insert(due_.end(), waiting_.begin(), waiting_.end());
      waiting_.clear();
      waited_for_.store(false, std::memory_order_relaxed);
    }
    const bool wants = !all_sent || waited_for_.load(std::memory_order_relaxed);
    to.want_room(wants, before);
    if (wants) loop.activate(self);  // asleep, it has not told the peer that room is news
    // One may end another, whose wait is forgotten then.
    while (const stream_waiter next = take_due()) next.run();
  }

 private:
  stream_waiter take_due() {
    const std::lock_guard guard(mutex_);
    if (due_.empty()) return {};
    stream_waiter first = due_.front();
    due_.pop_front();
    // A thread under the lock: once it has asked to be forgotten, it is gone.
    return first.wake();
  }

  owed_records owed_;
  std::mutex mutex_;
  std::deque<stream_waiter> waiting_;
  std::deque<stream_waiter> due_;  // there is room for them: being run
  std::atomic<bool> waited_for_{false};
  std::optional<session_core::progress_mark> tried_;  // before those that waited ran last
};

}  // namespace ferry
