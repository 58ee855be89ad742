#include "engine/channel/handshake.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ferry {

message hello_message(const runtime_instance_id& instance,
                      const std::optional<channel_token>& token) {
  message hello;
  hello.code = handshake_version;
  hello.text = instance.full_id();
  if (token) hello.data = payload::copy_of(*token);
  return hello;
}

message refusal_message(const channel_error& why) {
  message refusal;
  refusal.code = static_cast<std::uint32_t>(why.code);
  refusal.text = why.text.substr(0, max_refusal_bytes);
  return refusal;
}

frame_fields control_fields(frame_kind kind, const message& what) {
  frame_fields fields = fields_of(what);
  fields.kind = static_cast<std::uint8_t>(kind);
  fields.flags = 0;
  return fields;
}

result<channel_hello, channel_error> read_hello(const frame_fields& fields, const message& what) {
  const auto refuse = [](std::string text) {
    return channel_error(errc::authentication_failed, std::move(text));
  };
  if (!fields.is(frame_kind::hello)) return refuse("the first frame is not a hello");
  if (fields.code != handshake_version) {
    return channel_error(
        errc::version_mismatch,
        fmt::format("the peer's handshake has version {}, not {}", fields.code, handshake_version));
  }
  auto instance = runtime_instance_id::parse(what.text);
  if (!instance) return refuse("the hello names an impossible instance");
  channel_hello hello{std::move(*instance), std::nullopt};
  if (what.data.empty()) return hello;
  channel_token token;
  if (what.data.size() != token.size()) return refuse("a token of a wrong size");
  std::memcpy(token.data(), what.data.data(), token.size());
  hello.token = token;
  return hello;
}

channel_error read_refusal(const frame_fields& fields, const message& what) {
  std::string text = what.text.substr(0, max_refusal_bytes);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  const auto code = static_cast<errc>(fields.code);
  const bool known = fields.code < 1u << 16 && name_of(code) != "error";
  return {known ? code : errc::refused, fmt::format("the peer refused: {}", text)};
}

result<void, channel_error> check_uid(const channel_peer& peer,
                                      std::span<const std::uint32_t> allowed) {
  if (!peer.uid || *peer.uid == ::geteuid()) return {};
  if (std::ranges::find(allowed, *peer.uid) != allowed.end()) return {};
  return channel_error(errc::authentication_failed,
                       fmt::format("user {} may not talk to user {}", *peer.uid, ::geteuid()));
}

result<void, channel_error> check_uid(int socket, std::span<const std::uint32_t> allowed) {
  int family = 0;
  socklen_t size = sizeof family;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family != AF_UNIX) {
    return {};
  }
  ucred who{};
  size = sizeof who;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
    return channel_error(errc::authentication_failed,
                         error{errc::system, errno, "SO_PEERCRED"}.message());
  }
  channel_peer peer;
  peer.uid = who.uid;
  return check_uid(peer, allowed);
}

}  // namespace ferry
