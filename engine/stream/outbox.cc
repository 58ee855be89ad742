#include "engine/stream/outbox.h"

#include "shm/coarse_clock.h"

namespace ferry {

bool stream_outbox::grant(stream_credit more) {
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    if (more.bytes > static_cast<std::uint64_t>(most_bytes)) return false;
    const auto bytes = static_cast<std::int64_t>(more.bytes);
    if (items_.fetch_add(more.items, std::memory_order_relaxed) + more.items > most_items ||
        bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes > most_bytes) {
      return false;
    }
    progress(coarse_now());
    if (waiter_ && may_send()) woken = waiter_.wake();
  }
  woken.run();
  return true;
}

void stream_outbox::close(call_error why) {
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    if (closed_.load(std::memory_order_relaxed)) return;
    why_ = std::move(why);
    // release: pairs with the acquire in open(); why_ is written.
    closed_.store(true, std::memory_order_release);
    if (waiter_) woken = waiter_.wake();
  }
  woken.run();
}

call_error stream_outbox::why() const {
  const std::lock_guard guard(lock_);
  return why_;
}

bool stream_outbox::wait(stream_waiter who) {
  const std::lock_guard guard(lock_);
  if (may_send() || closed_.load(std::memory_order_relaxed)) return false;
  waiter_ = who;
  return true;
}

bool stream_outbox::watch_end(stream_waiter who) {
  const std::lock_guard guard(lock_);
  if (closed_.load(std::memory_order_relaxed)) return false;
  waiter_ = who;
  return true;
}

void stream_outbox::stop_waiting() {
  const std::lock_guard guard(lock_);
  waiter_ = {};
}

}  // namespace ferry
