#include "worker/context.h"

#include <cstring>
#include <utility>

#include "engine/stream/failure.h"
#include "shm/coarse_clock.h"
#include "worker/worker_link.h"

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;

constexpr const char* no_answer = "the function ended without an answer";
constexpr auto listen_interval = std::chrono::milliseconds(1);  // of stop_requested()

error no_call() { return {errc::invalid_request, 0, "a responder of no call"}; }
error answered_already() { return {errc::invalid_request, 0, "the call is answered already"}; }

}  // namespace

// --- responder ----------------------------------------------------------------------------------

responder::~responder() {
  if (state_ && !state_->ended()) (void)fail(errc::execution_failed, no_answer);
}
result<loan> responder::borrow(std::uint64_t size_bytes) {
  if (!state_) return no_call();
  return state_->borrow(size_bytes);
}
result<void> responder::reply(std::span<const std::byte> answer) {
  if (!state_) return no_call();
  return state_->reply(answer);
}
result<void> responder::reply(std::string_view answer) {
  return reply(std::as_bytes(std::span(answer)));
}
result<void> responder::reply(loan answer) {
  if (!state_) return no_call();
  return state_->reply(std::move(answer));
}
result<void> responder::fail(errc code, std::string_view text) {
  if (!state_) return no_call();
  return state_->fail(code, text);
}
result<void> responder::fail_encoded(errc code, std::string_view text,
                                     std::span<const std::byte> detail) {
  if (!state_) return no_call();
  return state_->fail(code, text, detail);
}
bool responder::answered() const noexcept { return !state_ || state_->ended(); }
std::stop_token responder::stop_token() const {
  return state_ ? state_->stop_token() : std::stop_token();
}

// --- context ------------------------------------------------------------------------------------

context::context(const std::shared_ptr<worker_link>& link, std::uint64_t call,
                 std::string_view function, std::uint64_t left_ns) noexcept
    : link_(&link),
      call_(call),
      function_(function),
      left_ns_(left_ns),
      began_(left_ns == 0 ? clock::time_point() : coarse_now()) {}

context::~context() {
  if (!deferred_ && !answered()) (void)fail(errc::execution_failed, no_answer);
}

bool context::answered() const noexcept { return state_ ? state_->ended() : call_ == 0; }

std::uint32_t context::peer_pid() const noexcept { return (*link_)->core().peer_pid(); }

std::optional<std::chrono::steady_clock::time_point> context::deadline() const noexcept {
  // A peer may say any number: what does not fit the clock is as good as no deadline.
  constexpr std::uint64_t longest_ns = 1ull << 60;
  if (left_ns_ == 0 || left_ns_ > longest_ns) return std::nullopt;
  return began_ + std::chrono::nanoseconds(left_ns_);
}

call_state& context::state() {
  if (!state_) {
    made_ = std::make_shared<call_state>(*link_, call_, handler_->shared_from_this());
    state_ = made_.get();
    link_ = &made_->link();  // lives as long as we may need it
    const bool open = std::exchange(call_, 0) != 0;
    if (!open) {
      state_->cancel(errc::closed, "the call is answered already");
    } else if ((*link_)->finished()) {
      state_->cancel(errc::unavailable, "the caller is gone");
    } else {
      if (!(*link_)->remember(made_)) {
        (void)state_->fail(errc::overloaded, worker_link::too_many, {});
      } else if (const auto when = deadline()) {
        state_->watch(*when);
      }
    }
  }
  return *state_;
}

std::stop_token context::stop_token() { return state().stop_token(); }

bool context::stop_requested() {
  const auto token = state().stop_token();
  if (token.stop_requested()) return true;
  const auto now = coarse_now();
  if ((*link_)->loop().mine() && now - listened_ >= listen_interval) {
    listened_ = now;
    (*link_)->listen();
    (*link_)->loop().serve_due(now);
  }
  return token.stop_requested();
}

result<loan> context::borrow(std::uint64_t size_bytes) {
  return (*link_)->core().borrow(size_bytes);
}

result<void> context::reply(std::span<const std::byte> answer) {
  if (state_) return deferred_ ? answered_already() : state_->reply(answer);
  if (call_ == 0) return answered_already();
  worker_link& link = **link_;
  if (answer.size() > link.core().options().inline_limit) {
    auto copy = link.core().borrow(answer.size());
    if (!copy) {
      (void)fail(errc::internal,
                 std::string("no memory for the answer: ") + copy.error().message());
      return copy.error();
    }
    std::memcpy(copy->data(), answer.data(), answer.size());
    return reply(std::move(*copy));
  }
  record_fields fields;
  fields.call = std::exchange(call_, 0);
  fields.kind = record_kind::reply;
  return link.answer(fields, answer);
}
result<void> context::reply(std::string_view answer) {
  return reply(std::as_bytes(std::span(answer)));
}
result<void> context::reply(loan answer) {
  if (state_) {
    if (deferred_) return answered_already();
    return state_->reply(std::move(answer));
  }
  if (call_ == 0) return answered_already();
  record_fields fields;
  fields.call = std::exchange(call_, 0);
  fields.kind = record_kind::reply;
  auto sent = (*link_)->answer(fields, answer);
  // A loan of another session: the call can still be answered.
  if (!sent && sent.error().code == errc::bad_argument) call_ = fields.call;
  return sent;
}
result<void> context::fail(errc code, std::string_view text) {
  return fail_encoded(code, text, {});
}
result<void> context::fail(const call_error& why) {
  return fail_encoded(why.code, why.text, why.detail);
}
result<void> context::reject(errc code, std::string_view text) {
  return fail_encoded(code, text, {}, false);
}
result<void> context::fail_encoded(errc code, std::string_view text,
                                   std::span<const std::byte> detail, bool begun) {
  if (state_) return deferred_ ? answered_already() : state_->fail(code, text, detail, begun);
  if (call_ == 0) return answered_already();
  return (*link_)->fail(std::exchange(call_, 0), code, text, detail, begun);
}

void context::progress() {
  record_fields fields;
  fields.kind = record_kind::progress;
  fields.call = state().id();
  state().send_small(fields);
}

result<void> context::send_error(errc code, std::string_view text) {
  const auto core = stream_core_of();
  auto sent = core->write({std::as_bytes(std::span(text)), nullptr, code}, stream_core::no_limit);
  if (sent) return {};
  if (sent.error().code == errc::invalid_request) {
    return error{errc::invalid_request, 0,
                 "the stream was closed, or a coroutine would block: "
                 "co_await the sink's send_error()"};
  }
  return error{sent.error().code, 0, "nobody reads the stream any more"};
}

std::shared_ptr<stream_core> context::stream_core_of() {
  FERRY_CHECK(state_ && state_->stream);                  // only functions that stream have one
  return {state_->shared_from_this(), &*state_->stream};  // it lies in the state
}

responder context::defer() {
  if (answered()) return responder();
  deferred_ = true;
  return responder(state().shared_from_this());
}

}  // namespace ferry
