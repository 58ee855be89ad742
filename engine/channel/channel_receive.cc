// The receiving operations of a channel, for any thread.
#include <sched.h>

#include <algorithm>
#include <utility>

#include "engine/channel/channel_impl.h"
#include "engine/channel/waiting_errors.h"

namespace ferry {

// The first of the inbox, with the lock held. `made_room`: the peer may go on, wake() tells it.
message channel_impl::take_oldest(bool& made_room) {
  inbox_bytes_ -= held_bytes(inbox_.front());
  message first = std::move(inbox_.front());
  inbox_.pop_front();
  // Half of it free before the peer may go on: one wakeup for many messages.
  made_room = inbox_full_ && inbox_.size() <= options_.inbox_messages / 2 &&
              inbox_bytes_ <= options_.inbox_bytes / 2;
  if (made_room) inbox_full_.store(false, std::memory_order_relaxed);
  return first;
}

std::optional<message_result> channel_impl::try_receive() {
  if (made_in_.left()) return not_ours();
  std::optional<message_result> next;
  bool made_room = false;
  {
    const std::lock_guard guard(state_mutex_);
    if (inbox_.empty()) {
      if (failure_) next.emplace(*failure_);
      return next;
    }
    next.emplace(take_oldest(made_room));
  }
  if (made_room) wake();
  return next;
}

message_result channel_impl::receive(std::chrono::nanoseconds timeout) {
  if (auto next = try_receive()) return std::move(*next);
  if (mine()) return in_callback();
  const auto self = weak_from_this().lock();  // a callback may drop the last other one
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
  return begun(begin_receive(std::move(next)));
}

// Hands what lies in the inbox to those who wait, or to the handler. With the wheel.
void channel_impl::match() {
  for (;;) {
    message_waiter next;
    std::optional<message_result> what;
    bool made_room = false, handled = false;
    {
      // Both in one step: a receiver that is taken out of the list is served for certain.
      const std::lock_guard guard(state_mutex_);
      if (!inbox_.empty() && (handler_ || !receivers_.empty())) {
        what.emplace(take_oldest(made_room));
        handled = static_cast<bool>(handler_);
      } else if (failure_ && !receivers_.empty()) {
        what.emplace(*failure_);  // another has taken the message for which it came
      } else {
        return;
      }
      if (!handled) {
        next = std::move(receivers_.front());
        receivers_.pop_front();
      }
    }
    if (made_room) wake();
    if (handled) {
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
  if (made_in_.left()) return;
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
