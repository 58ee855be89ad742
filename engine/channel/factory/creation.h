// One creation of a channel: the ways of a plan in order, each tried and retried at an address of
// its own, until one stands or all are used up.
//
// An attempt has succeeded when the channel is connected, its handshake done, within
// connect_timeout. The next way is taken when a way has failed for good or has used up its retries.
// Threads   a plain function; blocks for at most the sum over the ways of
//           (1 + max_retries) * (connect_timeout + longest_delay), if connectors keep their limit.
// Errors    creation_failure::code: channel_creation_failed: no way worked.  authentication_failed:
//           one side refused the other, which ends the creation at once: another way would only
//           move a refused peer to a weaker channel.  closed: it was given up meanwhile.
// Source    engine/channel/factory/README.md, "Attempts".
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/channel/factory/retry_policy.h"
#include "engine/channel/factory/strategy.h"
#include "engine/channel/factory/transports.h"

namespace ferry {

struct creation_attempt {
  std::string channel;
  std::string address;       // empty: there was none to try
  std::uint32_t number = 1;  // of this channel, from 1
  std::chrono::nanoseconds took{0};
  channel_error cause;
};

// Why there is no channel: a code for programs, every attempt as data, and all of it as text.
struct creation_failure {
  errc code = errc::channel_creation_failed;
  std::string text;  // of a failure before any attempt
  runtime_type runtime = runtime_type::process;
  std::vector<std::string> attempted_types;  // in the order in which they were tried
  std::vector<creation_attempt> attempts;

  // "process: unix at /run/x.sock, 4 times: connection failed (12): ...; tcp: ..."
  std::string causes() const;
  std::string message() const;  // code and causes
  operator channel_error() const;
};

using creation_result = result<channel_ptr, creation_failure>;

struct creation_way {
  std::string channel;
  address_maker address;
};

struct creation_plan {
  runtime_instance_id instance;
  std::vector<creation_way> ways;  // in this order
  retry_policy retry;
  std::chrono::nanoseconds connect_timeout;
  channel_options options;                // connect_timeout and heartbeat are set per attempt
  std::chrono::nanoseconds keepalive{0};  // the heartbeat of remote transports
  std::map<std::string, std::string> extra;
};

// What a creation needs from the world; tests bring their own. Called by any thread, by several at
// once; nothing here may throw.
struct creation_world {
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  std::function<void(std::chrono::nanoseconds)> pause;  // between attempts; unset: sleeps
  std::function<std::uint64_t()> random;                // unset: the kernel's
  // The secret that the next attempt shows. Asked for each, since a token opens one connection.
  std::function<std::optional<channel_token>(const runtime_instance_id&)> credentials;
  // Sees each attempt that failed, as soon as it has, on the thread that creates.
  std::function<void(const runtime_instance_id&, const creation_attempt&)> on_failed_attempt;
};

// `given_up` is asked before each attempt and after the last one.
creation_result create_channel_by(const creation_plan& plan, const transport_registry& transports,
                                  const creation_world& world,
                                  const std::function<bool()>& given_up);

}  // namespace ferry
