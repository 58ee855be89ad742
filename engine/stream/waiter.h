// Who waits for one half of a stream: a blocked thread, or something to run on the thread that
// drives (a coroutine, a callback).
// Threads   see inbox.h and outbox.h, whose locks guard it.
#pragma once
#include <utility>

#include "engine/driver.h"

namespace ferry {

struct stream_waiter {
  follower* thread = nullptr;
  void (*resume)(void* context) = nullptr;  // on the thread that drives, without any lock
  void* context = nullptr;

  explicit operator bool() const noexcept { return thread != nullptr || resume != nullptr; }
  // With the lock held: a blocked thread may go as soon as it has arrived. What is returned is to
  // be run when the lock is free.
  stream_waiter wake() noexcept {
    stream_waiter woken = std::exchange(*this, {});
    if (woken.thread != nullptr) woken.thread->arrive();
    return woken;
  }
  void run() const {
    if (resume != nullptr) resume(context);
  }
};

}  // namespace ferry
