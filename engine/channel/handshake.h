// What two channels say before anything else: who connects, and whether it may.
// Layout    hello: text = full id, data = the token or nothing, code = handshake_version.
//           welcome: nothing. refusal: code = errc, text = why.
// Threads   plain functions.
// Source    engine/channel/README.md, "Handshake".
#pragma once
#include <optional>
#include <span>

#include "engine/channel/channel.h"
#include "engine/channel/token.h"
#include "engine/channel/wire.h"

namespace ferry {

inline constexpr std::uint32_t handshake_version = 1;
inline constexpr std::size_t max_refusal_bytes = 1024;
inline constexpr std::uint64_t max_greeting_bytes = 4096;  // of any frame before the channel opens

struct channel_hello {
  runtime_instance_id instance;
  std::optional<channel_token> token;
};

message hello_message(const runtime_instance_id& instance,
                      const std::optional<channel_token>& token);
message refusal_message(const channel_error& why);
frame_fields control_fields(frame_kind kind, const message& what);

// authentication_failed: another frame, or one that makes no sense. version_mismatch.
result<channel_hello, channel_error> read_hello(const frame_fields& fields, const message& what);
// Printable text and a code of ours.
channel_error read_refusal(const frame_fields& fields, const message& what);

// A peer on this machine must run as we do or as one of `allowed`.
result<void, channel_error> check_uid(const channel_peer& peer,
                                      std::span<const std::uint32_t> allowed);
// The same of whoever is at the other end of a connected socket; of TCP nobody knows.
result<void, channel_error> check_uid(int socket, std::span<const std::uint32_t> allowed);

}  // namespace ferry
