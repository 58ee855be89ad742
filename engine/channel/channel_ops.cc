// The operations of a channel: what any thread may call.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <utility>

#include "engine/channel/channel_impl.h"
#include "engine/channel/waiting_errors.h"

namespace ferry {

using namespace std::chrono_literals;

namespace {

constexpr unsigned turns_between_looks = 16;  // of a busy loop, before it looks at its descriptors

}  // namespace

channel_error channel_impl::over_error() const {
  const std::lock_guard guard(state_mutex_);
  return failure_ ? *failure_ : channel_error(errc::closed, "the channel is not open");
}

channel_error channel_impl::refusal(const error& why) const {
  // While it closes, also the peer's end of the link may be seen first: that is no loss.
  const bool ends = why.code == errc::closed || why.code == errc::unavailable;
  return ends && !is_connected() ? over_error() : channel_error(why);
}

bool channel_impl::drive(follower& me, clock::time_point deadline) {
  std::optional<clock::time_point> limit;
  if (deadline != clock::time_point::max()) limit = deadline;
  for (;;) {
    bool promoted = false;
    if (core_.try_take()) {
      if (!at(phase::over)) core_.activate(*this);
      for (unsigned turns = 0; !me.arrived() && !core_.wanted();) {
        const std::size_t done = core_.turn();
        if (me.arrived()) break;
        const bool look = ++turns % turns_between_looks == 0;
        if (done != 0) {
          if (!look) continue;
          (void)core_.wait_events(0ns);
        } else if (core_.wait(deadline) != woke::timeout && !look) {
          continue;
        }
        const auto now = clock::now();
        core_.serve_due(now);
        if (now >= deadline) break;
      }
      core_.leave();
    } else {
      promoted = core_.wheel().follow(me, limit);
    }
    if (me.arrived()) {
      if (promoted) core_.wheel().pass_on();
      return true;
    }
    if (limit && clock::now() >= deadline) {
      core_.wheel().pass_on();
      return false;
    }
  }
}

result<void, channel_error> channel_impl::wait_open() {
  struct shared_state {
    follower me;
    std::optional<result<void, channel_error>> outcome;
  } state;
  {
    const wheel_guard wheel(core_);
    if (at(phase::open)) return {};
    if (at(phase::over)) return over_error();
    on_open_ = [&state](result<void, channel_error>&& how) {
      state.outcome.emplace(std::move(how));
      state.me.arrive();
    };
  }
  (void)drive(state.me, clock::time_point::max());  // the handshake has a deadline of its own
  return std::move(*state.outcome);
}

// --- sending ------------------------------------------------------------------------------------

result<void> channel_impl::check_size(const frame_fields& fields) const {
  if (fields.head_size > max_head_bytes) {
    return error{errc::frame_too_large, 0, "names, texts and metadata", fields.head_size,
                 max_head_bytes};
  }
  if (fields.head_size + fields.data_size > options_.max_message_bytes) {
    return error{errc::frame_too_large, 0, "message", fields.head_size + fields.data_size,
                 options_.max_message_bytes};
  }
  return {};
}

result<void> channel_impl::try_submit(const frame_fields& fields, message& what) {
  if (!is_connected()) return error{errc::closed, 0, "the channel is not open"};
  if (auto sent = link_->send(fields, what, false); !sent) return sent;
  const bool driving = mine();
  counters_.messages_sent.add(1, driving);
  counters_.bytes_sent.add(fields.wire_bytes(), driving);
  // At the end of our own turn everything leaves together; anywhere else nobody might come by.
  if (!driving || !in_turn_) link_->write_now();
  return {};
}

send_result channel_impl::submit(const frame_fields& fields, message& what, send_options how) {
  if (made_in_.left()) return not_ours();
  if (auto good = check_size(fields); !good) return channel_error(good.error());
  // Whoever waits for room goes first.
  if (!is_connected()) return over_error();
  // acquire: pairs with the release in serve_room(); what they sent is queued.
  const bool free = sender_count_.load(std::memory_order_acquire) == 0;
  const result<void> sent =
      free ? try_submit(fields, what) : result<void>(error{errc::full, 0, "others wait for room"});
  if (sent) return {};
  if (sent.error().code != errc::full || !how.wait || mine()) return refusal(sent.error());
  const auto self = weak_from_this().lock();  // a callback may drop the last other one
  follower me;
  std::optional<send_result> outcome;
  const std::uint64_t queued = link_->queued_bytes();
  {
    const std::lock_guard guard(state_mutex_);
    if (failure_) return *failure_;
    if (!is_connected()) return channel_error(errc::closed, "the channel is not open");
    wait_for_room({&me, &outcome, fields, std::move(what), {}}, queued);
  }
  wake();
  if (!drive(me, after(clock::now(), how.timeout))) {
    // Not among those who wait: it is being sent, or put back since there was no room after all.
    while (!me.arrived()) {
      {
        const std::lock_guard guard(state_mutex_);
        const auto at_place = std::ranges::find(senders_, &me, &room_waiter::thread);
        if (at_place != senders_.end()) {
          waits_no_more(at_place);
          if (at(phase::closing)) wake();
          return timed_out("no room", how.timeout);
        }
      }
      ::sched_yield();
    }
  }
  return std::move(*outcome);
}

bool channel_impl::may_wait(const frame_fields& fields) const noexcept {
  const auto bytes = waiting_bytes_.load(std::memory_order_relaxed);
  return bytes == 0 || bytes + fields.wire_bytes() <= options_.waiting_bytes;
}

void channel_impl::wait_for_room(room_waiter&& who, std::uint64_t queued) {
  const std::uint64_t bytes = who.fields.wire_bytes();
  const auto before = waiting_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  queue_peak_ = std::max(queue_peak_, queued + before + bytes);
  senders_.push_back(std::move(who));
  sender_count_.fetch_add(1, std::memory_order_relaxed);
}

void channel_impl::waits_no_more(std::deque<room_waiter>::iterator who) {
  waiting_bytes_.fetch_sub(who->fields.wire_bytes(), std::memory_order_relaxed);
  senders_.erase(who);
  sender_count_.fetch_sub(1, std::memory_order_relaxed);
}

// A request that waited for room and will never leave.
void channel_impl::refuse_request(const room_waiter& unsent, const channel_error& why) {
  if ((unsent.fields.flags & frame_asks) == 0) return;
  if (auto request = requests_.end(unsent.fields.request_id)) request->done(why);
}

// Sends for those who wait, in turn. With the wheel.
std::size_t channel_impl::serve_room() {
  room_came_.store(false, std::memory_order_relaxed);
  bool full = false;
  for (;;) {
    std::pair<frame_kind, std::uint64_t> next;
    {
      const std::lock_guard guard(state_mutex_);
      if (owed_.empty()) break;
      next = owed_.front();
    }
    message nothing;
    nothing.request_id = next.second;
    const auto sent = link_->send(control_fields(next.first, nothing), nothing, true);
    if (!sent && sent.error().code == errc::full) {
      full = true;
      break;
    }
    const std::lock_guard guard(state_mutex_);
    if (!owed_.empty()) owed_.pop_front();
    owed_count_ = owed_.size();
  }
  // Not without end: what is told of its sending may send again.
  std::size_t served = 0;
  for (; !full; ++served) {
    if (served == frames_per_turn) {
      room_came_.store(true, std::memory_order_relaxed);
      break;
    }
    room_waiter first;
    {
      const std::lock_guard guard(state_mutex_);
      if (senders_.empty()) break;
      first = std::move(senders_.front());
      senders_.pop_front();
    }
    result<void> sent = link_->send(first.fields, first.what, false);
    if (!sent && sent.error().code == errc::full) {
      const std::lock_guard guard(state_mutex_);
      senders_.push_front(std::move(first));
      full = true;
      break;
    }
    // Whoever hears of it, or finds nobody waiting, may send next: that has to go behind this one.
    link_->settle();
    waiting_bytes_.fetch_sub(first.fields.wire_bytes(), std::memory_order_relaxed);
    sender_count_.fetch_sub(1, std::memory_order_release);
    send_result outcome;
    if (sent) {
      counters_.messages_sent.add(1, true);
      counters_.bytes_sent.add(first.fields.wire_bytes(), true);
    } else {
      outcome = refusal(sent.error());
      refuse_request(first, outcome.error());
    }
    if (first.done) first.done(std::move(outcome));
    if (first.thread != nullptr) {
      first.outcome->emplace(std::move(outcome));
      first.thread->arrive();
    }
  }
  link_->want_room(full);
  return served;
}

void channel_impl::has_room() noexcept {
  room_came_.store(true, std::memory_order_relaxed);
  wake();
}

void channel_impl::wake() noexcept {
  if (at(phase::over)) return;
  if (mine()) return core_.activate(*this);
  core_.post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && self->joined_) self->core_.activate(*self);
  });
}

void channel_impl::owe(frame_kind kind, std::uint64_t request_id) {
  const std::lock_guard guard(state_mutex_);
  if (failure_ || owed_.size() >= owed_most) return;
  owed_.emplace_back(kind, request_id);
  owed_count_ = owed_.size();
}

// Tells the peer that nobody waits for its answer. False: the request has never left.
bool channel_impl::give_up(std::uint64_t id) {
  if (withdraw(id)) return false;
  counters_.cancels_sent.add(1, mine());
  message nothing;
  nothing.request_id = id;
  if (!link_->send(control_fields(frame_kind::cancel, nothing), nothing, true)) {
    owe(frame_kind::cancel, id);
    has_room();
    return true;
  }
  link_->write_now();
  return true;
}

// Takes back a request that waits for room, also one whose thread waits with it.
bool channel_impl::withdraw(std::uint64_t id) {
  if (sender_count_.load(std::memory_order_relaxed) == 0) return false;
  room_waiter dropped;  // beyond the lock
  {
    const std::lock_guard guard(state_mutex_);
    const auto waiting = std::ranges::find_if(senders_, [id](const room_waiter& each) {
      return (each.fields.flags & frame_asks) != 0 && each.fields.request_id == id;
    });
    if (waiting == senders_.end()) return false;
    dropped = std::move(*waiting);
    waits_no_more(waiting);
  }
  if (dropped.thread != nullptr) {
    dropped.outcome->emplace(channel_error(errc::timeout, "no room"));  // the request has its own
    dropped.thread->arrive();
  }
  return true;
}

send_result channel_impl::send(message what, send_options how) {
  what.request_id = 0;
  return submit(fields_of(what), what, how);
}

result<payload, channel_error> channel_impl::borrow(std::uint64_t size_bytes) {
  if (made_in_.left()) return not_ours();
  if (size_bytes > options_.max_message_bytes) {
    return channel_error(
        error{errc::frame_too_large, 0, "message", size_bytes, options_.max_message_bytes});
  }
  if (!is_connected()) return over_error();
  return link_->borrow(size_bytes);
}

// --- requests -----------------------------------------------------------------------------------

result<std::uint64_t, channel_error> channel_impl::start(message& what,
                                                         std::chrono::nanoseconds timeout,
                                                         on_answer&& done, bool wait) {
  if (made_in_.left()) return not_ours();
  const auto began = now();
  const auto deadline = after(began, timeout);
  const auto id = requests_.begin(std::move(done), began, deadline, timeout, mine());
  if (!id) {
    if (!is_connected()) return over_error();
    return channel_error(errc::full, fmt::format("{} requests are in flight, as many as allowed",
                                                 options_.max_requests));
  }
  what.request_id = *id;
  what.timeout_ms = timeout == no_limit ? 0 : std::max<std::uint64_t>(whole_ms(timeout), 1);
  frame_fields fields = fields_of(what);
  fields.flags |= frame_asks;
  send_result sent = submit(fields, what, {wait, timeout});
  if (!sent && sent.error().code == errc::full && !wait) {
    // It waits for room like any other; its deadline covers that.
    const std::uint64_t queued = link_->queued_bytes();
    const std::lock_guard guard(state_mutex_);
    if (!is_connected()) {
      sent = failure_ ? *failure_ : channel_error(errc::closed, "the channel is not open");
    } else if (may_wait(fields)) {
      wait_for_room({nullptr, nullptr, fields, std::move(what), {}}, queued);
      sent = {};
    } else {
      sent = channel_error(errc::full, "as much as may waits for room already");
    }
  }
  if (!sent) {
    // Ended already: its callback has had the reason.
    if (!requests_.end(*id)) return *id;
    return sent.error();
  }
  // Its time may have ended before it stood anywhere: the peer's cancel has to come behind it.
  if (!mine() && !requests_.holds(*id) && clock::now() >= deadline) (void)give_up(*id);
  if (sender_count_.load(std::memory_order_relaxed) != 0) has_room();
  core_.due(deadline);
  return *id;
}

message_result channel_impl::request(message what, std::chrono::nanoseconds timeout) {
  if (mine()) return in_callback();
  if (timeout == as_configured) timeout = options_.request_timeout;
  const auto self = weak_from_this().lock();  // a callback may drop the last other one
  follower me;
  std::optional<message_result> outcome;
  const auto deadline = after(clock::now(), timeout);
  const auto id = start(
      what, timeout,
      [&](message_result&& answer) {
        outcome.emplace(std::move(answer));
        me.arrive();
      },
      true);
  if (!id) return id.error();
  if (!drive(me, deadline)) {
    if (requests_.end(*id)) {
      counters_.timeout_errors.add(1, mine());
      give_up(*id);
      auto why = timed_out("no answer", timeout);
      why.maybe_executed = true;
      return why;
    }
    while (!me.arrived()) ::sched_yield();  // it is being handed over
  }
  return std::move(*outcome);
}

send_result channel_impl::answer_to(std::uint64_t request_id, message& answer, send_options how) {
  if (made_in_.left()) return not_ours();
  if (request_id == 0) {
    return channel_error(errc::invalid_request, "a message that asked for no answer");
  }
  answer.request_id = request_id;
  frame_fields fields = fields_of(answer);
  fields.flags |= frame_answers;
  // Before it is sent: who has the answer and asks how we are finds it done.
  const bool counted = asked_of_us_.end(request_id);
  const bool queues = how.wait && mine();
  auto sent = submit(fields, answer, queues ? send_options{false, {}} : how);
  if (queues && !sent && sent.error().code == errc::full) {
    // An answer is never lost for want of room: it waits, bounded by what was asked of us.
    const std::uint64_t queued = link_->queued_bytes();
    {
      const std::lock_guard guard(state_mutex_);
      if (failure_) return *failure_;
      wait_for_room({nullptr, nullptr, fields, std::move(answer), {}}, queued);
    }
    has_room();  // or nobody would ask the link for it
    return {};
  }
  if (!sent && counted) asked_of_us_.put_back(request_id);
  return sent;
}

// --- state --------------------------------------------------------------------------------------

void channel_impl::on_cancel(unique_function<void(std::uint64_t)> handler) {
  if (made_in_.left()) return;
  if (mine() && cancelling_) {  // it is running
    core_.post([weak = weak_from_this(),
                next = std::make_unique<unique_function<void(std::uint64_t)>>(std::move(handler))] {
      if (const auto self = weak.lock()) self->cancel_handler_ = std::move(*next);
    });
    return;
  }
  const wheel_guard wheel(core_);
  cancel_handler_ = std::move(handler);
}

void channel_impl::on_closed(unique_function<void(const channel_error&)> handler) {
  if (made_in_.left()) return;
  const wheel_guard wheel(core_);
  if (!at(phase::over)) {
    closed_handler_ = std::move(handler);
    return;
  }
  core_.post([why = std::make_unique<channel_error>(over_error()),
              tell = std::make_unique<unique_function<void(const channel_error&)>>(
                  std::move(handler))] { (*tell)(*why); });
}

bool channel_impl::still_connected() const noexcept {
  if (!is_connected()) return false;
  if (mine()) return !link_->peer_gone();
  if (!core_.try_take()) return true;  // whoever drives notices it without us
  const bool there = is_connected() && !link_->peer_gone();
  core_.leave();
  return there;
}

std::optional<channel_error> channel_impl::failure() const {
  if (made_in_.left()) return not_ours();
  const std::lock_guard guard(state_mutex_);
  return failure_;
}

channel_stats channel_impl::get_stats() const {
  channel_stats stats;
  counters_.copy_to(stats);
  if (made_in_.left()) return stats;  // what had been counted; whoever held a lock is not here
  stats.requests_in_flight = requests_.count();
  stats.send_queue_depth = link_->queued_bytes() + waiting_bytes_.load(std::memory_order_relaxed);
  stats.send_queue_peak = link_->queued_peak();
  if (opened_at_ != clock::time_point()) {
    stats.uptime_seconds = static_cast<std::uint64_t>((clock::now() - opened_at_) / 1s);
  }
  const std::lock_guard guard(state_mutex_);
  stats.send_queue_peak = std::max(stats.send_queue_peak, queue_peak_);
  stats.inbox_depth = inbox_.size();
  return stats;
}

}  // namespace ferry
