#include "engine/channel/channel_impl.h"

#include <fmt/format.h>

#include <utility>

#include "engine/channel/own_health.h"

namespace ferry {

using namespace std::chrono_literals;

namespace {

constexpr unsigned frames_per_clock = 16;  // handled between two looks at the clock

bool is_nonsense(errc code) {
  return code == errc::corrupt || code == errc::frame_too_large || code == errc::version_mismatch;
}

}  // namespace

channel_impl::channel_impl(role how, runtime_instance_id instance, channel_options options,
                           ferry::loop driven_by)
    : role_(how),
      instance_(std::move(instance)),
      options_(std::move(options)),
      open_by_(after(clock::now(), options_.connect_timeout)),
      loop_(std::move(driven_by)),
      core_(*loop_.core()),
      requests_(options_.max_requests) {}

channel_impl::~channel_impl() {
  if (made_in_.left()) return;
  const wheel_guard wheel(core_);
  if (!link_) return;
  if (!at(phase::over)) {
    if (at(phase::open)) begin_close();
    link_->write_now();  // what the socket takes at once; nobody is left who could wait
    finish({errc::closed, "the channel has gone"});
  }
}

void channel_impl::begin(std::unique_ptr<channel_link> link, admission admit, on_open opened_well,
                         std::shared_ptr<void> held) {
  const wheel_guard wheel(core_);
  held_ = std::move(held);
  link_ = std::move(link);
  type_ = link_->type();
  admit_ = std::move(admit);
  on_open_ = std::move(opened_well);
  core_.add(*this);
  joined_ = true;
  phase_deadline_ = open_by_;
  core_.due(phase_deadline_);
  if (auto joined = link_->join(core_, *this, *this); !joined) {
    return finish({errc::connection_failed, joined.error().message()});
  }
  if (role_ == role::paired) return opened();
  link_->limit_frames(max_greeting_bytes);
  if (!link_->connecting()) greet();
  if (!at(phase::over)) link_->write_now();
}

channel_impl::clock::time_point channel_impl::after(clock::time_point from,
                                                    std::chrono::nanoseconds timeout) {
  if (timeout > clock::time_point::max() - from) return clock::time_point::max();
  return from + std::max(timeout, 0ns);
}

// --- handshake ----------------------------------------------------------------------------------

void channel_impl::greet() {
  phase_.store(phase::greeting, std::memory_order_relaxed);
  const auto same = check_uid(link_->peer(), options_.allowed_uids);
  if (role_ == role::accepts) {
    if (!same) refuse(same.error());
    return;
  }
  if (!same) {
    close_reason_ = same.error();
    return;
  }
  say(frame_kind::hello, hello_message(instance_, options_.token));
}

void channel_impl::take_greeting(const frame_fields& fields, message&& what) {
  if (role_ == role::connects) {
    if (fields.is(frame_kind::welcome)) return opened();
    close_reason_ = fields.is(frame_kind::refusal)
                        ? read_refusal(fields, what)
                        : channel_error(errc::corrupt, "the peer answered the hello with nonsense");
    return;
  }
  auto hello = read_hello(fields, what);
  if (!hello) return refuse(hello.error());
  if (admit_) {
    if (auto welcome = admit_(*hello, link_->peer()); !welcome) return refuse(welcome.error());
    instance_ = std::move(hello->instance);
  } else if (hello->instance != instance_) {  // the socket is its, whatever a frame says
    return refuse({errc::authentication_failed, "the hello names another instance"});
  }
  say(frame_kind::welcome, message());
  opened();
}

void channel_impl::opened() {
  opened_at_ = heard_ = clock::now();
  phase_deadline_ = clock::time_point::max();
  link_->limit_frames(options_.max_message_bytes);
  // release: pairs with the acquire in is_connected().
  phase_.store(phase::open, std::memory_order_release);
  if (auto tell = std::move(on_open_)) tell({});
}

// Tells the peer why, and ends when that is written.
void channel_impl::refuse(channel_error why) {
  say(frame_kind::refusal, refusal_message(why));
  close_reason_ = std::move(why);
  phase_.store(phase::closing, std::memory_order_relaxed);
  phase_deadline_ = after(clock::now(), options_.flush_timeout);
}

void channel_impl::turn_away(channel_error why) {
  if (!at(phase::over)) {
    say(frame_kind::refusal, refusal_message(why));
    link_->write_now();
  }
  finish(std::move(why));
}

// --- the loop -----------------------------------------------------------------------------------

std::size_t channel_impl::turn() {
  const auto self = weak_from_this().lock();
  if (!self || at(phase::over)) return 0;
  in_turn_ = true;
  turn_now_ = clock::now();
  if (at(phase::connecting) && !link_->connecting()) greet();
  std::size_t done = link_->read(frames_per_turn);
  if (at(phase::connecting) && !link_->connecting()) greet();  // it took reading to get there
  const bool all_read = done < frames_per_turn;
  done += end_requests();
  // Also when nobody wants the room that came: it is input until somebody has looked.
  if (sender_count_.load(std::memory_order_relaxed) != 0 ||
      owed_count_.load(std::memory_order_relaxed) != 0 ||
      room_came_.load(std::memory_order_relaxed)) {
    done += serve_room();
  }
  if (owes_bye_) say_bye();
  link_->write();
  if (const auto activity = link_->activity(); activity != heard_activity_) {
    heard_activity_ = activity;
    heard_ = turn_now_;
  }
  if (close_reason_ && !at(phase::closing)) {
    finish(*close_reason_);
    ++done;
  } else if (at(phase::closing)) {
    core_.io().flush();
    if ((link_->flushed() && sender_count_ == 0) || turn_now_ >= phase_deadline_) {
      finish(*close_reason_);
      ++done;
    }
  }
  if (!at(phase::over) && all_read) {
    if (auto why = link_->lost()) {
      if (is_nonsense(why->code)) {  // the peer hears what was wrong with it, if it listens
        say(frame_kind::refusal, refusal_message(*why));
        link_->write_now();
      }
      finish(close_reason_ ? *close_reason_ : *why);
      ++done;
    }
  }
  if (!at(phase::over) && turn_now_ >= next_due()) {
    done += tick(turn_now_);
    if (!at(phase::over)) link_->write();
  }
  in_turn_ = false;
  link_->settle();
  return done;
}

bool channel_impl::has_input() noexcept {
  if (at(phase::over)) return false;
  if (close_reason_ && !at(phase::closing)) return true;
  if (ends_requests_) return true;
  if (at(phase::closing) && link_->flushed() && sender_count_ == 0) return true;
  if (at(phase::connecting) && !link_->connecting()) return true;
  return room_came_.load(std::memory_order_relaxed) || link_->has_input();
}

void channel_impl::ready(std::uint8_t which, const reactor_event& event) {
  if (!at(phase::over)) link_->ready(which, event);
}

session* channel_impl::direct() noexcept {
  return at(phase::open) && sender_count_ == 0 ? link_->direct() : nullptr;
}

std::chrono::nanoseconds channel_impl::silence_allowed() const noexcept {
  return options_.heartbeat * options_.heartbeat_limit;
}

channel_impl::clock::time_point channel_impl::next_due() noexcept {
  if (at(phase::over)) return clock::time_point::max();
  auto next = std::min(requests_.next_deadline(), phase_deadline_);
  if (options_.heartbeat > 0ns && at(phase::open) && !inbox_full_) {
    next = std::min(next, std::max(heard_, pinged_) + options_.heartbeat);
    next = std::min(next, heard_ + silence_allowed());
  }
  return armed() || at(phase::connecting) ? std::min(next, link_->next_due()) : next;
}

std::size_t channel_impl::tick(clock::time_point now) {
  const auto self = weak_from_this().lock();
  if (!self || at(phase::over)) return 0;
  std::size_t done = expire(now);
  link_->tick();
  if (now >= phase_deadline_) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(options_.connect_timeout);
    const std::string tried = link_->tried();
    finish(close_reason_ ? *close_reason_
                         : channel_error(errc::timeout,
                                         "no connection and handshake in time" +
                                             (tried.empty() ? "" : ": " + tried),
                                         static_cast<std::uint64_t>(ms.count())));
    return done + 1;
  }
  if (options_.heartbeat > 0ns && at(phase::open) && !inbox_full_) {
    if (now >= heard_ + silence_allowed()) {
      finish({errc::unavailable, fmt::format("no sign of life for {} ms",
                                             silence_allowed() / std::chrono::milliseconds(1))});
      return done + 1;
    }
    if (now >= std::max(heard_, pinged_) + options_.heartbeat) {
      pinged_ = now;
      counters_.heartbeats_sent.add();
      say(frame_kind::ping, message());
      link_->write_now();
    }
  }
  link_->settle();
  return done;
}

std::size_t channel_impl::expire(clock::time_point now) {
  std::size_t count = 0;
  while (now >= requests_.next_deadline()) {
    auto due = requests_.end_due(now);
    if (!due) break;
    ++count;
    counters_.timeout_errors.add(1, true);
    const bool left = give_up(due->id);
    const auto ms = due->request.timeout / 1ms;
    due->request.done(channel_error(errc::timeout, fmt::format("no answer within {} ms", ms),
                                    static_cast<std::uint64_t>(ms), left));
  }
  return count;
}

// --- what comes ---------------------------------------------------------------------------------

bool channel_impl::wants_more() noexcept {
  // Whoever asks and asks and reads no answer is not listened to either.
  return !inbox_full_.load(std::memory_order_relaxed) && !at(phase::over) &&
         sender_count_.load(std::memory_order_relaxed) < options_.max_requests &&
         (!close_reason_ || at(phase::closing));
}

void channel_impl::take(const frame_fields& fields, message&& what) {
  if (++taken_ % frames_per_clock == 0) turn_now_ = clock::now();
  if (at(phase::connecting)) greet();  // the link opened while it read
  if (at(phase::greeting)) return take_greeting(fields, std::move(what));
  if (at(phase::over) || opened_at_ == clock::time_point()) return;
  if (!fields.is_message()) return take_control(fields, std::move(what));
  counters_.messages_received.add();
  counters_.bytes_received.add(fields.wire_bytes());
  if ((fields.flags & frame_answers) != 0) return take_answer(fields, std::move(what));
  if (at(phase::closing)) return;
  if (what.kind == message_kind::health_check && (fields.flags & frame_asks) != 0) {
    return answer_health(fields);
  }
  take_message(fields, std::move(what));
}

void channel_impl::take_control(const frame_fields& fields, message&& what) {
  switch (static_cast<frame_kind>(fields.kind)) {
    case frame_kind::ping: return say(frame_kind::pong, message());
    case frame_kind::pong: return;
    case frame_kind::bye:
      close_reason_ = channel_error(errc::closed, "the peer closed the channel");
      return;
    case frame_kind::refusal: close_reason_ = read_refusal(fields, what); return;
    case frame_kind::cancel: {
      counters_.cancels_received.add();
      asked_of_us_.end(fields.request_id);
      {
        const std::lock_guard guard(state_mutex_);
        const auto waiting = std::ranges::find(inbox_, fields.request_id, &message::request_id);
        if (waiting != inbox_.end()) {
          inbox_bytes_ -= held_bytes(*waiting);
          inbox_.erase(waiting);
          return;
        }
      }
      if (!cancel_handler_) return;
      const bool inside = std::exchange(cancelling_, true);
      cancel_handler_(fields.request_id);
      cancelling_ = inside;
      return;
    }
    default: close_reason_ = channel_error(errc::corrupt, "a handshake after the handshake");
  }
}

void channel_impl::take_answer(const frame_fields& fields, message&& what) {
  auto request = requests_.end(fields.request_id);
  if (!request) return counters_.late_answers.add();
  counters_.answered(turn_now_ - request->began);
  request->done(message_result(std::move(what)));
}

void channel_impl::take_message(const frame_fields& fields, message&& what) {
  if ((fields.flags & frame_asks) == 0) {
    what.request_id = 0;
  } else {
    asked_of_us_.begin(fields.request_id);
  }
  if (handler_) return handler_(std::move(what));
  message_waiter next;
  {
    const std::lock_guard guard(state_mutex_);
    if (receivers_.empty() || !inbox_.empty()) {  // match() is on its way, in order
      inbox_bytes_ += held_bytes(what);
      inbox_.push_back(std::move(what));
      if (inbox_.size() >= options_.inbox_messages || inbox_bytes_ >= options_.inbox_bytes) {
        inbox_full_.store(true, std::memory_order_relaxed);
      }
      return;
    }
    next = std::move(receivers_.front());
    receivers_.pop_front();
  }
  if (next.thread == nullptr) return next.done(message_result(std::move(what)));
  next.outcome->emplace(std::move(what));
  next.thread->arrive();
}

void channel_impl::answer_health(const frame_fields& fields) {
  message answer = health_response(options_.health ? options_.health() : own_health());
  frame_fields reply_fields = fields_of(answer);
  reply_fields.request_id = fields.request_id;
  reply_fields.flags |= frame_answers;
  const auto bytes = reply_fields.wire_bytes();
  if (!link_->send(reply_fields, answer, true)) return;  // full: whoever asked hears nothing
  counters_.messages_sent.add(1, true);
  counters_.bytes_sent.add(bytes, true);
}

health_report channel_impl::own_health() {
  health_report report;
  const auto asked = asked_of_us_.count();
  report.metrics = process_metrics();
  report.metrics.total_requests = asked.total;
  report.metrics.active_requests = asked.active;
  return report;
}

void channel_impl::say(frame_kind kind, message what) {
  const frame_fields fields = control_fields(kind, what);
  (void)link_->send(fields, what, true);  // full: the peer does not read; it loses no message by it
  if (!in_turn_) link_->settle();
}

}  // namespace ferry
