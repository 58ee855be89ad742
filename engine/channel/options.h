// What the owner of a channel or a listener may choose. The defaults suit one machine.
// Threads   plain values, read when a channel is made.
// Source    engine/channel/README.md, "Limits".
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/channel/channel.h"
#include "engine/channel/token.h"
#include "engine/session/options.h"

namespace ferry {

struct tls_options {
  std::string certificate_file;  // PEM chain; a listener needs it
  std::string key_file;          // PEM
  std::string authorities_file;  // whom to trust; empty: the system's (a listener: nobody)
  std::string host_name;         // what the peer's certificate must say; empty: from the address
  bool verify_peer = true;       // of a connector
  bool require_client_cert = false;  // of a listener
};

struct channel_options {
  std::optional<ferry::loop> loop;  // that drives it, with others; unset: one of its own
  std::uint64_t max_message_bytes = 64ull << 20;  // data and all, both ways
  std::uint32_t max_requests = 4096;              // of ours, in flight at once
  std::uint32_t inbox_messages = 1024;            // more wait with the peer
  std::uint64_t inbox_bytes = 64ull << 20;        // the same; one message always fits
  std::uint64_t outbox_bytes = 4ull << 20;        // queued; one message always fits
  // Of what send_async() and request_async() let wait for room in the outbox; one always may.
  std::uint64_t waiting_bytes = 64ull << 20;
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds(5);  // connect and handshake
  std::chrono::nanoseconds request_timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds flush_timeout = std::chrono::seconds(1);
  // Said on a link that was idle for so long; a peer silent for heartbeat_limit times that is lost.
  // Zero: none. TCP also gives up after liveness_limit without an acknowledgement.
  std::chrono::nanoseconds heartbeat{0};
  std::uint32_t heartbeat_limit = 3;
  std::chrono::nanoseconds liveness_limit = std::chrono::seconds(30);
  std::optional<channel_token> token;       // shown to the listener
  std::vector<std::uint32_t> allowed_uids;  // besides our own; of peers on Unix sockets
  // Answers health checks, on the thread that drives; unset: healthy, with what the channel counts.
  std::function<health_report()> health;
  session_options session;  // shm+unix
  tls_options tls;
};

}  // namespace ferry
