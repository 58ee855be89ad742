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

std::optional<clock::time_point> stream_core::idle_until(std::chrono::nanoseconds idle,
                                                         clock::time_point began) const {
  if (idle == no_limit) return clock::time_point::max();
  const auto from = std::max(began, in.last_progress());
  const auto until =
      from > clock::time_point::max() - idle ? clock::time_point::max() : from + idle;
  if (clock::now() >= until) return std::nullopt;
  return until;
}

call_error stream_core::end_as_idle(std::chrono::nanoseconds idle) {
  abandon(errc::timeout);
  return {errc::timeout,
          fmt::format("no item for {} ms",
                      std::chrono::duration_cast<std::chrono::milliseconds>(idle).count()),
          true};
}

result<void, call_error> stream_core::try_write(std::span<const std::byte> bytes, loan* filled,
                                                bool wait_for_room) {
  if (end_sent_) return call_error{errc::invalid_request, "the stream was closed", false};
  if (!out.open()) return out.why();
  if (!out.may_send()) return call_error{errc::full, "the reader allows no more yet", false};
  record_fields fields;
  fields.kind = record_kind::item;
  fields.call = call;
  const std::size_t size = filled != nullptr ? filled->size() : bytes.size();
  if (auto sent = host->send_item(fields, bytes, filled, wait_for_room); !sent) {
    if (!out.open()) return out.why();
    return call_error{sent.error().code, sent.error().message(), false};
  }
  out.spent(size);
  return {};
}

result<void, call_error> stream_core::write(std::span<const std::byte> bytes, loan* filled,
                                            std::chrono::nanoseconds idle) {
  for (;;) {
    if (!out.open() || out.may_send() || end_sent_) {
      auto sent = try_write(bytes, filled, true);
      if (sent || sent.error().code != errc::full) return sent;
    }
    follower me;
    if (!out.wait({&me, nullptr, nullptr})) continue;
    const auto arrived = host->block(me, idle);
    out.stop_waiting();
    if (!arrived) return arrived.error();
    if (!*arrived && !out.may_send() && out.open()) return end_as_idle(idle);
  }
}

result<void, call_error> stream_core::write_error(errc code, std::string_view text) {
  while (out.open() && !out.may_send()) {
    follower me;
    if (!out.wait({&me, nullptr, nullptr})) break;
    const auto arrived = host->block(me, no_limit);
    out.stop_waiting();
    if (!arrived) return arrived.error();
  }
  if (end_sent_ || !out.open()) return call_error{errc::closed, "nobody reads", false, {}};
  record_fields fields;
  fields.kind = record_kind::item;
  fields.flags = is_error;
  fields.code = static_cast<std::uint16_t>(code);
  fields.call = call;
  const auto bytes = std::as_bytes(std::span(text.substr(0, max_item_error_text)));
  if (auto sent = host->send_item(fields, bytes, nullptr, true); !sent) {
    return call_error{sent.error().code, sent.error().message(), false, {}};
  }
  out.spent(bytes.size());
  return {};
}

void stream_core::end_writing() {
  if (std::exchange(end_sent_, true) || !out.open()) return;
  record_fields fields;
  fields.kind = record_kind::end;
  fields.call = call;
  host->send_small(fields);
}

void stream_core::abandon(errc code) {
  if (host->loop().forked()) return;  // who waits has gone without a word; see operations.cc
  if (of_function) return in.discard();
  if (std::exchange(abandoned_, true)) return;
  host->give_up(call, code);
  out.close({code, code == errc::timeout ? "idle for too long" : "given up by this side", true});
  in.discard();
}

}  // namespace ferry
