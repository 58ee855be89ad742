// The operations of a channel that can be called off again: what the _async forms and the
// awaitables begin.
#include <algorithm>
#include <utility>

#include "engine/channel/channel_impl.h"

namespace ferry {

channel::ticket_result channel_impl::begin_send(message what, on_sent done) {
  if (made_in_.left()) return not_ours();
  what.request_id = 0;
  const frame_fields fields = fields_of(what);
  if (auto good = check_size(fields); !good) return channel_error(good.error());
  std::uint64_t ticket = 0;
  const std::uint64_t queued = link_->queued_bytes();
  {
    const std::lock_guard guard(state_mutex_);
    if (failure_) return *failure_;
    if (!is_connected()) return channel_error(errc::closed, "the channel is not open");
    if (senders_.size() >= options_.max_requests || !may_wait(fields)) {
      return channel_error(errc::full, "as much as may waits for room already");
    }
    ticket = ++last_ticket_;
    wait_for_room({nullptr, nullptr, fields, std::move(what), std::move(done), ticket}, queued);
  }
  has_room();  // if there is any
  return ticket;
}

channel::ticket_result channel_impl::begin_receive(on_answer next) {
  if (made_in_.left()) return not_ours();
  const std::lock_guard guard(state_mutex_);
  if (failure_ && inbox_.empty()) return *failure_;
  receivers_.push_back({nullptr, nullptr, std::move(next), ++last_ticket_});
  // A message that is in the inbox already: whoever drives hands it over.
  if (!inbox_.empty()) {
    core_.post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->match();
    });
  }
  return last_ticket_;
}

channel::ticket_result channel_impl::begin_request(message what, std::chrono::nanoseconds timeout,
                                                   on_answer done) {
  if (timeout == as_configured) timeout = options_.request_timeout;
  return start(what, timeout, std::move(done), false);
}

void channel_impl::call_off_send(std::uint64_t ticket) {
  room_waiter unsent;  // goes without the lock
  const std::lock_guard guard(state_mutex_);
  const auto place = std::ranges::find(senders_, ticket, &room_waiter::ticket);
  if (place == senders_.end()) return;
  unsent = std::move(*place);
  waits_no_more(place);
}

void channel_impl::call_off_receive(std::uint64_t ticket) {
  message_waiter waited;  // goes without the lock
  const std::lock_guard guard(state_mutex_);
  const auto place = std::ranges::find(receivers_, ticket, &message_waiter::ticket);
  if (place == receivers_.end()) return;
  waited = std::move(*place);
  receivers_.erase(place);
}

// With the wheel nothing is on its way to whoever waited: it stands in its list, or has ended.
void channel_impl::call_off(operation what, std::uint64_t ticket) {
  if (made_in_.left()) return;
  const wheel_guard wheel(core_);
  switch (what) {
    case operation::send: call_off_send(ticket); break;
    case operation::receive: call_off_receive(ticket); break;
    case operation::request:
      if (const auto request = requests_.end(ticket)) (void)give_up(ticket);
  }
  if (at(phase::closing)) wake();  // it may have waited for this one
}

}  // namespace ferry
