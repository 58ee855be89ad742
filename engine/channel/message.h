// What a channel carries: the kinds of SPEAR's RuntimeMessage and their fields in one struct.
// Units     times in milliseconds, as on the wire.
// Threads   plain values that move.
// Source    engine/channel/README.md, "Messages".
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/channel/payload.h"

namespace ferry {

enum class message_kind : std::uint8_t {
  execution_request = 1,   // function, data, timeout_ms, metadata
  execution_response = 2,  // outcome, elapsed_ms, metadata, see below
  health_check = 3,        // answered by the peer's loop itself
  health_response = 4,     // status, text (the reason), metrics in data: see health_of()
  shutdown = 5,            // graceful, timeout_ms
  ack = 6,
  error = 7,  // code, text
};
std::string_view name_of(message_kind kind) noexcept;

enum class execution_outcome : std::uint8_t {
  success = 0,  // data
  failure = 1,  // code, text, stack_trace
  timeout = 2,  // timeout_ms
};

enum class health_status : std::uint8_t {
  healthy = 0,
  starting = 1,
  degraded = 2,   // text says why
  unhealthy = 3,  // text says why
  shutting_down = 4,
};

using metadata_map = std::vector<std::pair<std::string, std::string>>;

struct message {
  message_kind kind = message_kind::execution_request;
  execution_outcome outcome = execution_outcome::success;
  health_status status = health_status::healthy;
  bool graceful = true;
  std::uint32_t code = 0;
  std::uint64_t request_id =
      0;  // the channel's; 0: no answer is expected. A caller's own string id
          // is metadata
  std::uint64_t timeout_ms = 0;  // 0: no limit. Of a request() the channel fills it in
  std::uint64_t elapsed_ms = 0;
  std::string function;
  std::string text;
  std::string stack_trace;
  metadata_map metadata;
  payload data;
};

struct health_metrics {
  double cpu_percent = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t active_requests = 0;
  std::uint64_t total_requests = 0;
  double average_response_ms = 0;
  std::uint64_t timestamp_ms = 0;  // since 1970
};

struct health_report {
  health_status status = health_status::healthy;
  std::string reason;
  health_metrics metrics;
};

message execution_request(std::string function, payload data = {});
message execution_success(payload data = {});
message execution_failure(std::uint32_t code, std::string text, std::string stack_trace = {});
message execution_timeout(std::uint64_t timeout_ms);
message health_check();
message health_response(const health_report& report);
message shutdown_request(bool graceful, std::uint64_t timeout_ms);
message ack();
message error_message(std::uint32_t code, std::string text);

// Memory that a message holds, in bytes: data, texts, and what stands for each pair of metadata.
std::uint64_t held_bytes(const message& what) noexcept;

// What a health_response says; metrics are zero if it carries none. corrupt: not such a message.
result<health_report> health_of(const message& answer);

}  // namespace ferry
