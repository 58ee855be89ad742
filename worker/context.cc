#include "worker/context.h"

#include <cstring>
#include <utility>

#include "engine/coarse_clock.h"
#include "worker/worker_session.h"

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;

// An error text longer than this says no more: it travels inline.
constexpr std::size_t max_error_text = 1024;

record_fields answer_to(std::uint64_t call, record_kind kind) {
  record_fields fields;
  fields.call = call;
  fields.kind = kind;
  return fields;
}

// The answers themselves. `call` becomes 0 with the answer; a second one is refused.
result<void> answer_with(worker_session& session, std::uint64_t& call, loan answer) {
  if (call == 0) return error{errc::invalid_request, 0, "the call is answered already"};
  const std::uint64_t answered = std::exchange(call, 0);
  auto sent = session.answer(answer_to(answered, record_kind::reply), answer);
  // A loan of another session: the call can still be answered.
  if (!sent && sent.error().code == errc::bad_argument) call = answered;
  return sent;
}

result<void> answer_with(worker_session& session, std::uint64_t& call, errc code,
                         std::string_view text) {
  if (call == 0) return error{errc::invalid_request, 0, "the call is answered already"};
  record_fields fields = answer_to(std::exchange(call, 0), record_kind::failure);
  fields.code = static_cast<std::uint16_t>(code);
  const std::size_t limit =
      std::min<std::size_t>(max_error_text, session.core().options().inline_limit);
  return session.answer(fields, std::as_bytes(std::span(text.substr(0, limit))));
}

result<void> answer_with(worker_session& session, std::uint64_t& call,
                         std::span<const std::byte> answer) {
  if (call == 0) return error{errc::invalid_request, 0, "the call is answered already"};
  if (answer.size() > session.core().options().inline_limit) {
    auto copy = session.core().borrow(answer.size());
    if (!copy) {
      (void)answer_with(session, call, errc::internal,
                        std::string("no memory for the answer: ") + copy.error().message());
      return copy.error();
    }
    std::memcpy(copy->data(), answer.data(), answer.size());
    return answer_with(session, call, std::move(*copy));
  }
  return session.answer(answer_to(std::exchange(call, 0), record_kind::reply), answer);
}

constexpr const char* no_answer = "the function ended without an answer";

}  // namespace

// --- responder ----------------------------------------------------------------------------------

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
  if (!answered()) (void)fail(errc::execution_failed, no_answer);
}

result<loan> responder::borrow(std::uint64_t size_bytes) {
  if (!session_) return error{errc::invalid_request, 0, "a responder of no call"};
  return session_->core().borrow(size_bytes);
}
result<void> responder::reply(std::span<const std::byte> answer) {
  if (!session_) return error{errc::invalid_request, 0, "a responder of no call"};
  return answer_with(*session_, call_, answer);
}
result<void> responder::reply(std::string_view answer) {
  return reply(std::as_bytes(std::span(answer)));
}
result<void> responder::reply(loan answer) {
  if (!session_) return error{errc::invalid_request, 0, "a responder of no call"};
  return answer_with(*session_, call_, std::move(answer));
}
result<void> responder::fail(errc code, std::string_view text) {
  if (!session_) return error{errc::invalid_request, 0, "a responder of no call"};
  return answer_with(*session_, call_, code, text);
}

// --- context ------------------------------------------------------------------------------------

context::context(const std::shared_ptr<worker_session>& session, std::uint64_t call,
                 std::string_view function, std::uint64_t left_ns) noexcept
    : session_(&session),
      call_(call),
      function_(function),
      left_ns_(left_ns),
      began_(left_ns == 0 ? clock::time_point() : coarse_now()) {}

context::~context() {
  if (!answered()) (void)fail(errc::execution_failed, no_answer);
}

std::optional<std::chrono::steady_clock::time_point> context::deadline() const noexcept {
  // A peer may say any number: what does not fit the clock is as good as no deadline.
  constexpr std::uint64_t longest_ns = 1ull << 60;
  if (left_ns_ == 0 || left_ns_ > longest_ns) return std::nullopt;
  return began_ + std::chrono::nanoseconds(left_ns_);
}

result<loan> context::borrow(std::uint64_t size_bytes) {
  return (*session_)->core().borrow(size_bytes);
}
result<void> context::reply(std::span<const std::byte> answer) {
  return answer_with(**session_, call_, answer);
}
result<void> context::reply(std::string_view answer) {
  return answer_with(**session_, call_, std::as_bytes(std::span(answer)));
}
result<void> context::reply(loan answer) {
  return answer_with(**session_, call_, std::move(answer));
}
result<void> context::fail(errc code, std::string_view text) {
  return answer_with(**session_, call_, code, text);
}
responder context::defer() noexcept { return {*session_, std::exchange(call_, 0)}; }

}  // namespace ferry
