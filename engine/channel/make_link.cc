#include "engine/channel/make_link.h"

#include <sys/socket.h>

#include <algorithm>

#include "engine/channel/addresses.h"
#include "engine/channel/handshake.h"
#include "engine/channel/shm_link.h"
#include "engine/channel/stream_link.h"
#include "engine/channel/tls_cipher.h"

namespace ferry {
namespace {

channel_error unknown(std::string_view transport) {
  return {errc::unsupported_channel, "no transport \"" + std::string(transport) + "\" here"};
}

}  // namespace

bool has_transport(std::string_view name) noexcept {
  return name == "memory" || name == "shm+unix" || name == "unix" || name == "tcp" ||
         (name == "tls" && has_tls());
}

link_result make_link(std::string_view transport, unique_fd socket, bool accepts,
                      std::unique_ptr<host_connect> connecting, const std::string& host,
                      const channel_options& options, const std::shared_ptr<loop_core>& loop) {
  if (transport == "shm+unix") {
    return std::unique_ptr<channel_link>(std::make_unique<shm_link>(
        std::move(socket), accepts ? session_role::worker : session_role::host, options.session,
        options.max_message_bytes, loop));
  }
  const stream_limits limits{options.max_message_bytes, options.outbox_bytes};
  std::unique_ptr<stream_cipher> cipher;
  std::string_view type = transport == "unix" ? "unix" : "tcp";
  if (transport == "tls") {
    auto made = accepts ? accept_tls(options.tls) : connect_tls(options.tls, host);
    if (!made) return made.error();
    cipher = std::move(*made);
    type = "tls";
  } else if (transport != type) {
    return unknown(transport);
  }
  return std::unique_ptr<channel_link>(std::make_unique<stream_link>(
      std::move(socket), type, limits, std::move(connecting), std::move(cipher)));
}

link_result connect_link(const channel_target& where, const channel_options& options,
                         const std::shared_ptr<loop_core>& loop,
                         std::chrono::steady_clock::time_point deadline) {
  if (!has_transport(where.transport) || where.transport == "memory") {
    return unknown(where.transport);
  }
  if (where.transport == "shm+unix" || where.transport == "unix") {
    const int type = where.transport == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
    auto socket = connect_path(where.address, type);
    if (!socket) return socket.error();
    // Before a word is said: the session's hello of shared memory hands over a segment of ours.
    if (auto same = check_uid(socket->get(), options.allowed_uids); !same) return same.error();
    return make_link(where.transport, std::move(*socket), false, nullptr, "", options, loop);
  }
  auto found = find_addresses(where.address);
  if (!found) return found.error();
  auto connecting =
      std::make_unique<host_connect>(std::move(*found), options.liveness_limit, deadline);
  auto begun = connecting->next(host_connect::clock::now());
  if (!begun) return connecting->error();
  if (!begun->pending) connecting.reset();
  const std::string first = where.address.substr(0, where.address.find(','));
  return make_link(where.transport, std::move(begun->socket), false, std::move(connecting),
                   split_address(first)->host, options, loop);
}

}  // namespace ferry
