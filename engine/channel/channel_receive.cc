// The receiving operations of a channel, for any thread.
#include <sched.h>

#include <algorithm>
#include <utility>

#include "engine/channel/channel_impl.h"
#include "engine/channel/waiting_errors.h"

namespace ferry {

std::optional<message_result> channel_impl::try_receive() {
  std::optional<message_result> next;
  bool was_full = false;
  {
    const std::lock_guard guard(state_mutex_);
    if (inbox_.empty()) {
      if (failure_) next.emplace(*failure_);
      return next;
    }
    inbox_bytes_ -= inbox_.front().data.size();
    next.emplace(std::move(inbox_.front()));
    inbox_.pop_front();
    // Half of it free before the peer may go on: one wakeup for many messages.
    was_full = inbox_full_ && inbox_.size() <= options_.inbox_messages / 2 &&
               inbox_bytes_ <= options_.inbox_bytes / 2;
    if (was_full) inbox_full_.store(false, std::memory_order_relaxed);
  }
  if (was_full) wake();
  return next;
}

message_result channel_impl::receive(std::chrono::nanoseconds timeout) {
  if (auto next = try_receive()) return std::move(*next);
  if (mine()) return in_callback();
  follower me;
  std::optional<message_result> outcome;
  {
    const std::lock_guard guard(state_mutex_);
    if (inbox_.empty() && !failure_) {
      receivers_.push_back({&me, &outcome, {}});
    } else {
      me.arrive_here();
    }
  }
  const auto deadline = after(clock::now(), timeout);
  if (!me.arrived() && !drive(me, deadline)) {
    {
      const std::lock_guard guard(state_mutex_);
      const auto place = std::ranges::find(receivers_, &me, &message_waiter::thread);
      if (place != receivers_.end()) {
        receivers_.erase(place);
        return timed_out("no message", timeout);
      }
    }
    while (!me.arrived()) ::sched_yield();  // it is being handed over
  }
  if (outcome) return std::move(*outcome);
  return receive(std::max(deadline - clock::now(), clock::duration(0)));
}

send_result channel_impl::receive_async(on_answer next) {
  if (auto there = try_receive()) {
    if (!*there) return there->error();
    core_.post(
        [what = std::make_unique<message_result>(std::move(*there)),
         done = std::make_unique<on_answer>(std::move(next))] { (*done)(std::move(*what)); });
    return {};
  }
  const std::lock_guard guard(state_mutex_);
  if (failure_) return *failure_;
  receivers_.push_back({nullptr, nullptr, std::move(next)});
  // A message that came in between is in the inbox: whoever drives hands it over.
  if (!inbox_.empty()) {
    core_.post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->match();
    });
  }
  return {};
}

// Hands what lies in the inbox to those who wait, or to the handler. With the wheel.
void channel_impl::match() {
  for (;;) {
    message_waiter next;
    {
      const std::lock_guard guard(state_mutex_);
      if (inbox_.empty() || (receivers_.empty() && !handler_)) return;
      if (!handler_) {
        next = std::move(receivers_.front());
        receivers_.pop_front();
      }
    }
    auto what = try_receive();
    if (!what) {  // somebody else took it
      const std::lock_guard guard(state_mutex_);
      if (!handler_) receivers_.push_front(std::move(next));
      return;
    }
    if (handler_) {
      handler_(std::move(**what));
    } else if (next.thread == nullptr) {
      next.done(std::move(*what));
    } else {
      next.outcome->emplace(std::move(*what));
      next.thread->arrive();
    }
  }
}

void channel_impl::on_message(unique_function<void(message&&)> handler) {
  if (mine()) {  // it may be running
    core_.post([weak = weak_from_this(),
                next = std::make_unique<unique_function<void(message &&)>>(std::move(handler))] {
      const auto self = weak.lock();
      if (!self) return;
      self->handler_ = std::move(*next);
      self->match();
    });
    return;
  }
  const wheel_guard wheel(core_);
  handler_ = std::move(handler);
  match();
}

}  // namespace ferry
