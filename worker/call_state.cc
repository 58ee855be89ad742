#include "worker/call_state.h"

#include "shm/coarse_clock.h"
#include "worker/worker_link.h"

namespace ferry {
namespace {
constexpr auto backstop = std::chrono::milliseconds(30);  // a caller that lives is sooner
constexpr auto no_room_pause = std::chrono::microseconds(50);
constexpr auto look_for_the_end = std::chrono::milliseconds(10);

constexpr const char* must_not_wait =
    "a coroutine or callback must not block: co_await next() or send()";
}  // namespace

call_state::call_state(std::shared_ptr<worker_link> session, std::uint64_t call,
                       std::shared_ptr<const handler> function)
    : link_(std::move(session)), call_(call), came_(coarse_now()), function_(std::move(function)) {}

call_state::~call_state() = default;

// --- answering ----------------------------------------------------------------------------------

// True for the one that may answer.
bool call_state::end(errc why, const char* text) {
  // A coroutine that waits for either half is resumed by whoever drives, and by nobody else.
  std::optional<wheel_guard> wheel;
  if (stream && (stream->in.resumes() || stream->out.resumes())) wheel.emplace(link_->loop());
  if (ended_.exchange(true, std::memory_order_acq_rel)) return false;
  link_->forget(*this);
  if (watch_ && !link_->loop().mine()) {
    link_->bury(std::move(watch_));
  } else {
    watch_.reset();
  }
  if (stream) {
    stream->out.close({why, text, true, {}});
    stream->in.finish(call_error{why, text, true, {}});
  }
  return true;
}

namespace {
error second_answer(bool cancelled) {
  if (cancelled) return {errc::closed, 0, "the caller gave up, or is gone"};
  return {errc::invalid_request, 0, "the call is answered already"};
}
}  // namespace

result<void> call_state::reply(std::span<const std::byte> answer) {
  if (answer.size() > link_->core().options().inline_limit) {
    auto copy = link_->core().borrow(answer.size());
    if (!copy) {
      (void)fail(errc::internal,
                 std::string("no memory for the answer: ") + copy.error().message());
      return copy.error();
    }
    std::memcpy(copy->data(), answer.data(), answer.size());
    return reply(std::move(*copy));
  }
  const bool stream_ends = function_->kind == method_kind::server_stream ||
                           function_->kind == method_kind::bidirectional;
  if (!end(errc::closed, "the function has ended")) {
    return second_answer(cancelled_.load(std::memory_order_relaxed));
  }
  record_fields fields;
  fields.call = call_;
  fields.kind = stream_ends ? record_kind::end : record_kind::reply;
  return link_->answer(fields, stream_ends ? std::span<const std::byte>() : answer);
}

result<void> call_state::reply(loan answer) {
  if (!end(errc::closed, "the function has ended")) {
    return second_answer(cancelled_.load(std::memory_order_relaxed));
  }
  record_fields fields;
  fields.call = call_;
  fields.kind = record_kind::reply;
  auto sent = link_->answer(fields, answer);
  if (!sent && sent.error().code == errc::bad_argument) {
    // A loan of another session.
    fields.kind = record_kind::failure;
    fields.code = static_cast<std::uint16_t>(errc::internal);
    (void)link_->answer(fields, std::as_bytes(std::span(std::string_view(sent.error().what))));
  }
  return sent;
}

result<void> call_state::fail(errc code, std::string_view text, std::span<const std::byte> detail,
                              bool begun) {
  if (!end(errc::closed, "the function has ended")) {
    return second_answer(cancelled_.load(std::memory_order_relaxed));
  }
  return link_->fail(call_, code, text, detail, begun);
}

result<loan> call_state::borrow(std::uint64_t size_bytes) {
  return link_->core().borrow(size_bytes);
}

// --- giving up ----------------------------------------------------------------------------------

void call_state::watch(clock::time_point deadline) {
  // Behind the caller's own clock, which counts.
  watch_ = std::make_unique<call_watch>(weak_from_this());
  link_->loop().timers().arm(*watch_, deadline + backstop);
}

// It has ended before it began.
void call_state::leave_queue() {
  if (ticket) (void)link_->functions().lanes().withdraw(*ticket);
  if (function_->coroutine && function_->options.concurrency != 0) {
    std::erase_if(function_->waiting, [this](const auto& each) { return each.call.get() == this; });
  }
}

void call_watch::on_due(time_point) {
  if (const auto call = call_.lock()) call->pass_deadline();
}

void call_state::pass_deadline() {
  if (end(errc::timeout, "the deadline has passed")) {
    cancelled_.store(true, std::memory_order_relaxed);
    // The caller ends the call by its own clock: this is for one that does not.
    (void)link_->fail(call_, errc::timeout, "the deadline has passed", {});
  }
  leave_queue();
  stop_.request_stop();
}

void call_state::cancel(errc code, const char* text) {
  const auto keep = shared_from_this();
  cancelled_.store(true, std::memory_order_relaxed);
  (void)end(code, text);
  leave_queue();
  stop_.request_stop();
}

// --- stream_host --------------------------------------------------------------------------------

void call_state::send_small(const record_fields& fields) {
  if (!ended()) link_->send_small(fields);
}

result<void> call_state::send_item(const record_fields& fields, std::span<const std::byte> bytes,
                                   loan* filled, bool wait) {
  if (filled == nullptr && bytes.size() > link_->core().options().inline_limit) {
    auto copy = link_->core().borrow(bytes.size());
    if (!copy) return copy.error();
    std::memcpy(copy->data(), bytes.data(), bytes.size());
    return send_item(fields, {}, &*copy, wait);
  }
  for (;;) {
    auto sent =
        filled != nullptr ? link_->core().send(fields, *filled) : link_->core().send(fields, bytes);
    if (sent || sent.error().code != errc::full || !wait) return sent;
    if (ended()) return error{errc::closed, 0, "the call has ended"};
    // The caller does not read. A driver looks again soon, which costs its reader no wakeup; others
    // are woken when it has, or to see whether the call still counts.
    follower me;
    if (link_->loop().mine()) {
      if (const auto looked = wait_for(me, clock::now() + no_room_pause); !looked) {
        return error{looked.error().code, 0, must_not_wait};
      }
      continue;
    }
    link_->when_room({&me, nullptr, &me});
    const auto arrived = wait_for(me, clock::now() + look_for_the_end);
    link_->forget_room(&me);
    if (!arrived) return error{arrived.error().code, 0, must_not_wait};
  }
}

result<bool, call_error> call_state::block(follower& me, std::chrono::nanoseconds limit) {
  const auto now = clock::now();
  return wait_for(me,
                  limit > clock::time_point::max() - now ? clock::time_point::max() : now + limit);
}

result<bool, call_error> call_state::wait_for(follower& me, clock::time_point deadline) {
  if (link_->loop().mine()) {
    if (function_->coroutine || function_->lane) {  // a lane's: inside a loop that it runs itself
      return call_error{errc::invalid_request, must_not_wait, false, {}};
    }
    return link_->wait_inside(me, deadline);
  }
  if (here_ != this) return me.sleep(deadline);  // a thread of the function's own
  work_ends();
  const bool arrived = me.sleep(deadline);
  work_begins();
  return arrived;
}

void call_state::when_room(stream_waiter who) { link_->when_room(who); }
void call_state::forget_room(void* context) { link_->forget_room(context); }
loop_core& call_state::loop() { return link_->loop(); }

}  // namespace ferry
