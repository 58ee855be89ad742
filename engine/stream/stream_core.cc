#include "engine/stream/stream_core.h"

#include <fmt/format.h>

#include "engine/stream/failure.h"
#include "shm/coarse_clock.h"

namespace ferry {

using clock = stream_inbox::clock;

namespace {
constexpr std::size_t max_item_error_text = 200;  // travels inline on every session
}

void stream_core::pay_credit() {
  if (const auto more = in.owed()) host->send_small(credit_record(call, *more));
}

std::optional<stream_core::next_result> stream_core::try_next() {
  stream_entry entry;
  switch (in.take(entry)) {
    case stream_inbox::seen::nothing: return std::nullopt;
    case stream_inbox::seen::end:
      if (auto why = in.failure()) return next_result(std::move(*why));
      return next_result(std::nullopt);
    case stream_inbox::seen::item: break;
  }
  pay_credit();
  if ((entry.flags & is_error) != 0) [[unlikely]] {
    return next_result(failure_in(entry.code, entry.flags, entry.content.bytes()));
  }
  return next_result(std::optional<body>(std::move(entry.content)));
}

stream_core::next_result stream_core::read(std::chrono::nanoseconds idle) {
  for (;;) {
    if (auto next = try_next()) return std::move(*next);
    const auto began = idle == no_limit ? clock::time_point() : coarse_now();
    follower me;
    auto left = idle;
    while (in.wait({&me, nullptr, nullptr})) {
      auto arrived = host->block(me, left);
      in.stop_waiting();
      if (!arrived) return std::move(arrived).error();
      if (*arrived) break;
      if (auto next = try_next()) return std::move(*next);
      const auto until = idle_until(idle, began);
      if (!until) return end_as_idle(idle);
      if (idle != no_limit) left = *until - clock::now();  // there was progress meanwhile
    }
  }
}

std::optional<clock::time_point> stream_core::idle_end(std::chrono::nanoseconds idle,
                                                       clock::time_point from) {
  if (idle == no_limit) return clock::time_point::max();
  const auto until =
      from > clock::time_point::max() - idle ? clock::time_point::max() : from + idle;
  if (clock::now() >= until) return std::nullopt;
  return until;
}

std::optional<clock::time_point> stream_core::idle_until(std::chrono::nanoseconds idle,
                                                         clock::time_point began) const {
  return idle_end(idle, std::max(began, in.last_progress()));
}

std::optional<clock::time_point> stream_core::write_until(std::chrono::nanoseconds idle,
                                                          clock::time_point began) const {
  return idle_end(idle, std::max(began, out.last_progress()));
}

call_error stream_core::end_as_idle(std::chrono::nanoseconds idle) {
  abandon(errc::timeout);
  return {errc::timeout,
          fmt::format("no item for {} ms",
                      std::chrono::duration_cast<std::chrono::milliseconds>(idle).count()),
          true};
}

result<bool, call_error> stream_core::try_write(const outgoing& what, bool wait_for_room) {
  if (end_sent_) return call_error{errc::invalid_request, "the stream was closed", false};
  if (!out.open()) return out.why();
  if (!out.may_send()) return false;
  record_fields fields;
  fields.kind = record_kind::item;
  fields.call = call;
  auto bytes = what.bytes;
  if (what.error != errc{}) [[unlikely]] {
    fields.flags = is_error;
    fields.code = static_cast<std::uint16_t>(what.error);
    bytes = bytes.first(std::min(bytes.size(), max_item_error_text));
  }
  const std::size_t size = what.filled != nullptr ? what.filled->size() : bytes.size();
  if (auto sent = host->send_item(fields, bytes, what.filled, wait_for_room); !sent) {
    if (!out.open()) return out.why();
    if (sent.error().code == errc::full) return false;
    // The session is over, and its end has not come to this stream yet.
    if (sent.error().code == errc::closed) {
      return call_error{errc::unavailable, sent.error().message(), true};
    }
    return call_error{sent.error().code, sent.error().message(), false};
  }
  out.spent(size);
  return true;
}

result<void, call_error> stream_core::write(const outgoing& what, std::chrono::nanoseconds idle) {
  const auto began = idle == no_limit ? clock::time_point() : coarse_now();
  for (;;) {
    auto sent = try_write(what, true);
    if (!sent) return std::move(sent).error();
    if (*sent) return {};
    follower me;
    auto left = idle;
    while (out.wait({&me, nullptr, nullptr})) {
      const auto arrived = host->block(me, left);
      out.stop_waiting();
      if (!arrived) return arrived.error();
      if (*arrived || out.may_send() || !out.open()) break;
      const auto until = write_until(idle, began);
      if (!until) return end_as_idle(idle);
      if (idle != no_limit) left = *until - clock::now();  // there was progress meanwhile
    }
  }
}

void stream_core::end_writing() {
  if (std::exchange(end_sent_, true) || !out.open()) return;
  record_fields fields;
  fields.kind = record_kind::end;
  fields.call = call;
  if (of_function) fields.flags = call_goes_on;  // its end is the function's
  host->send_small(fields);
}

void stream_core::abandon(errc code, bool told) {
  if (host->loop().forked()) return;  // who waits has gone without a word; see operations.cc
  call_error why{code, code == errc::timeout ? "idle for too long" : "given up by this side", true};
  std::optional<call_error> heard;
  if (told) heard = why;
  // A coroutine that waits for either half is resumed by whoever drives, and by nobody else.
  std::optional<wheel_guard> wheel;
  if (in.resumes() || out.resumes()) wheel.emplace(host->loop());
  const bool first = !std::exchange(abandoned_, true);
  if (of_function) {
    if (first && !in.finished()) {  // or the host would wait for credit
      record_fields fields;
      fields.kind = record_kind::end;
      fields.flags = call_goes_on | reads_no_more;
      fields.call = call;
      host->send_small(fields);
    }
    return in.discard(std::move(heard));
  }
  if (!first) return;
  host->give_up(call, code);
  out.close(std::move(why));
  in.discard(std::move(heard));
}

}  // namespace ferry
