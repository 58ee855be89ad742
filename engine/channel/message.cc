#include "engine/channel/message.h"

#include <cstring>

namespace ferry {
namespace {

struct packed_metrics {  // little-endian, as it travels
  double cpu_percent;
  std::uint64_t memory_bytes;
  std::uint64_t total_requests;
  double average_response_ms;
  std::uint64_t timestamp_ms;
  std::uint32_t active_requests;
  std::uint32_t zero;
};
static_assert(sizeof(packed_metrics) == 48);

message of_kind(message_kind kind) {
  message made;
  made.kind = kind;
  return made;
}

}  // namespace

std::string_view name_of(message_kind kind) noexcept {
  switch (kind) {
    case message_kind::execution_request: return "execution request";
    case message_kind::execution_response: return "execution response";
    case message_kind::health_check: return "health check";
    case message_kind::health_response: return "health response";
    case message_kind::shutdown: return "shutdown";
    case message_kind::ack: return "ack";
    case message_kind::error: return "error";
  }
  return "unknown";
}

message execution_request(std::string function, payload data) {
  message made = of_kind(message_kind::execution_request);
  made.function = std::move(function);
  made.data = std::move(data);
  return made;
}

message execution_success(payload data) {
  message made = of_kind(message_kind::execution_response);
  made.data = std::move(data);
  return made;
}

message execution_failure(std::uint32_t code, std::string text, std::string stack_trace) {
  message made = of_kind(message_kind::execution_response);
  made.outcome = execution_outcome::failure;
  made.code = code;
  made.text = std::move(text);
  made.stack_trace = std::move(stack_trace);
  return made;
}

message execution_timeout(std::uint64_t timeout_ms) {
  message made = of_kind(message_kind::execution_response);
  made.outcome = execution_outcome::timeout;
  made.timeout_ms = timeout_ms;
  return made;
}

message health_check() { return of_kind(message_kind::health_check); }

message health_response(const health_report& report) {
  message made = of_kind(message_kind::health_response);
  made.status = report.status;
  made.text = report.reason;
  const health_metrics& from = report.metrics;
  const packed_metrics packed{from.cpu_percent,
                              from.memory_bytes,
                              from.total_requests,
                              from.average_response_ms,
                              from.timestamp_ms,
                              from.active_requests,
                              0};
  made.data = payload::copy_of(std::as_bytes(std::span(&packed, 1)));
  return made;
}

message shutdown_request(bool graceful, std::uint64_t timeout_ms) {
  message made = of_kind(message_kind::shutdown);
  made.graceful = graceful;
  made.timeout_ms = timeout_ms;
  return made;
}

message ack() { return of_kind(message_kind::ack); }

message error_message(std::uint32_t code, std::string text) {
  message made = of_kind(message_kind::error);
  made.code = code;
  made.text = std::move(text);
  return made;
}

std::uint64_t held_bytes(const message& what) noexcept {
  std::uint64_t sum =
      what.data.size() + what.function.size() + what.text.size() + what.stack_trace.size();
  for (const auto& pair : what.metadata) {
    sum += sizeof pair + pair.first.size() + pair.second.size();
  }
  return sum;
}

result<health_report> health_of(const message& answer) {
  if (answer.kind != message_kind::health_response) {
    return error{errc::corrupt, 0, "not a health response"};
  }
  if (answer.status > health_status::shutting_down) {
    return error{errc::corrupt, 0, "a health status that does not exist"};
  }
  health_report report{answer.status, answer.text, {}};
  if (answer.data.empty()) return report;
  packed_metrics packed;
  if (answer.data.size() != sizeof packed) {
    return error{errc::corrupt, 0, "health metrics of a wrong size", answer.data.size(),
                 sizeof packed};
  }
  std::memcpy(&packed, answer.data.data(), sizeof packed);
  report.metrics = {packed.cpu_percent,    packed.memory_bytes,        packed.active_requests,
                    packed.total_requests, packed.average_response_ms, packed.timestamp_ms};
  return report;
}

}  // namespace ferry
