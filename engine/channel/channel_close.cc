// The end of a channel: what is flushed, and in which order all that waits is told.
#include <utility>
#include <vector>

#include "engine/channel/channel_impl.h"

namespace ferry {

void channel_impl::begin_close() {
  if (at(phase::over) || at(phase::closing)) return;
  if (at(phase::open)) owes_bye_ = true;
  say_bye();
  close_reason_ = channel_error(errc::closed, "this side closed the channel");
  phase_deadline_ = after(clock::now(), options_.flush_timeout);
  phase_.store(phase::closing, std::memory_order_release);
  ends_requests_ = true;  // by the next turn: whoever closes may be in a callback
}

// However long the flushing takes: an answer has nothing to come for any more.
std::size_t channel_impl::end_requests() {
  if (!std::exchange(ends_requests_, false)) return 0;
  std::vector<room_waiter> unsent;
  {
    const std::lock_guard guard(state_mutex_);
    std::erase_if(senders_, [&](room_waiter& each) {
      if ((each.fields.flags & frame_asks) == 0) return false;
      waiting_bytes_.fetch_sub(each.fields.wire_bytes(), std::memory_order_relaxed);
      unsent.push_back(std::move(each));
      return true;
    });
    sender_count_.fetch_sub(static_cast<std::uint32_t>(unsent.size()), std::memory_order_relaxed);
  }
  requests_.close();
  std::size_t count = unsent.size();
  channel_error why = *close_reason_;
  for (const room_waiter& each : unsent) {
    refuse_request(each, why);
    if (each.thread == nullptr) continue;
    each.outcome->emplace(why);
    each.thread->arrive();
  }
  why.maybe_executed = true;
  for (; auto request = requests_.end_any(); ++count) request->done(why);
  return count;
}

void channel_impl::say_bye() {
  if (!owes_bye_ || sender_count_.load(std::memory_order_relaxed) != 0) return;
  owes_bye_ = false;
  say(frame_kind::bye, message());
}

void channel_impl::close() {
  if (!link_ || made_in_.left()) return;
  if (mine()) {
    begin_close();
    return wake();
  }
  const auto self = weak_from_this().lock();  // a callback may drop the last other one
  const wheel_guard wheel(core_);
  begin_close();
  while (!at(phase::over)) {
    core_.activate(*this);
    core_.turn();
    if (at(phase::over)) break;
    if (core_.wanted()) {
      core_.give_way();
      continue;
    }
    if (core_.wait(phase_deadline_) == woke::timeout) core_.serve_due(clock::now());
  }
}

void channel_impl::finish(channel_error why) {
  if (at(phase::over)) return;
  match();  // a message may lie there beside one who waits
  if (at(phase::over)) return;
  if (why.code != errc::closed) counters_.connection_errors.add();
  std::deque<message_waiter> receivers;
  std::deque<room_waiter> senders;
  {
    const std::lock_guard guard(state_mutex_);
    failure_ = why;
    receivers.swap(receivers_);
    senders.swap(senders_);
    owed_.clear();
    owed_count_ = 0;
    sender_count_ = 0;
    waiting_bytes_ = 0;
  }
  // release: whoever finds it over finds the reason and the counts.
  phase_.store(phase::over, std::memory_order_release);
  link_->leave();
  held_.reset();
  if (std::exchange(joined_, false)) core_.remove(*this);
  requests_.close();
  for (const room_waiter& each : senders) refuse_request(each, why);
  channel_error of_requests = why;
  of_requests.maybe_executed = true;
  while (auto request = requests_.end_any()) request->done(of_requests);
  for (message_waiter& each : receivers) {
    if (each.thread == nullptr) {
      each.done(message_result(why));
    } else {
      each.outcome->emplace(why);
      each.thread->arrive();
    }
  }
  for (room_waiter& each : senders) {
    if (each.done) each.done(send_result(why));
    if (each.thread == nullptr) continue;
    each.outcome->emplace(why);
    each.thread->arrive();
  }
  if (auto tell = std::move(on_open_)) tell(why);
  if (auto tell = std::move(closed_handler_)) tell(why);
}

}  // namespace ferry
