#include "worker/context.h"

#include <cstring>
#include <utility>

#include "worker/worker_session.h"

namespace ferry {
namespace {

// An error text longer than this says no more: it travels inline.
constexpr std::size_t max_error_text = 1024;

record_fields answer_to(std::uint64_t call, record_kind kind) {
  record_fields fields;
  fields.call = call;
  fields.kind = kind;
  return fields;
}

}  // namespace

responder::responder(std::shared_ptr<worker_session> session, std::uint64_t call) noexcept
    : session_(std::move(session)), call_(call) {}
responder::responder(responder&& other) noexcept
    : session_(std::move(other.session_)), call_(std::exchange(other.call_, 0)) {}
responder& responder::operator=(responder&& other) noexcept {
  std::swap(session_, other.session_);
  std::swap(call_, other.call_);
  return *this;
}
responder::~responder() {
  if (!answered()) (void)fail(errc::execution_failed, "the function ended without an answer");
}

result<loan> responder::borrow(std::uint64_t size_bytes) {
  if (!session_) return error{errc::invalid_request, 0, "the call is answered already"};
  return session_->core().borrow(size_bytes);
}

result<void> responder::reply(std::span<const std::byte> answer) {
  if (answered()) return error{errc::invalid_request, 0, "the call is answered already"};
  if (answer.size() > session_->core().options().inline_limit) {
    auto copy = borrow(answer.size());
    if (!copy) {
      (void)fail(errc::internal, std::string("no memory for the answer: ") + copy.error().message());
      return copy.error();
    }
    std::memcpy(copy->data(), answer.data(), answer.size());
    return reply(std::move(*copy));
  }
  return session_->answer(answer_to(std::exchange(call_, 0), record_kind::reply), answer);
}

result<void> responder::reply(std::string_view answer) {
  return reply(std::as_bytes(std::span(answer)));
}

result<void> responder::reply(loan answer) {
  if (answered()) return error{errc::invalid_request, 0, "the call is answered already"};
  const std::uint64_t call = std::exchange(call_, 0);
  auto sent = session_->answer(answer_to(call, record_kind::reply), answer);
  if (!sent && sent.error().code == errc::bad_argument) {
    call_ = call;  // a loan of another session: the call can still be answered
  }
  return sent;
}

result<void> responder::fail(errc code, std::string_view text) {
  if (answered()) return error{errc::invalid_request, 0, "the call is answered already"};
  record_fields fields = answer_to(std::exchange(call_, 0), record_kind::failure);
  fields.code = static_cast<std::uint16_t>(code);
  const std::size_t limit =
      std::min<std::size_t>(max_error_text, session_->core().options().inline_limit);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text.substr(0, limit)));
  return session_->answer(fields, bytes);
}

context::context(responder answer, std::string_view function, std::uint64_t left_ns) noexcept
    : answer_(std::move(answer)), function_(function) {
  // A peer may say any number: what does not fit the clock is as good as no deadline.
  constexpr std::uint64_t longest_ns = 1ull << 60;
  if (left_ns != 0 && left_ns < longest_ns) {
    deadline_ = std::chrono::steady_clock::now() + std::chrono::nanoseconds(left_ns);
  }
}

}  // namespace ferry
