// The handshake of two native peers over a fresh Unix socket: each sends a hello with the
// descriptor of its control segment, checks the other's, and says why if it refuses.
// Threads   blocks the caller, at most until the deadline; touches nothing global.
// Errors    version_mismatch: version or feature, with both sides' numbers in the text. corrupt:
//           not a Ferry peer, or sizes and descriptors that make no sense. refused,
//           authentication_failed: the peer said no; its text is passed on. unavailable: the peer
//           ended first. timeout. Others: from memory.
// Source    engine/README.md, "Handshake".
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <string>

#include "engine/session/layout.h"
#include "engine/session/options.h"
#include "shm/segment.h"
#include "shm/unique_fd.h"

namespace ferry {

enum class session_role : std::uint16_t { host = 1, worker = 2 };

// Both control segments, checked: every size in them lies within the limits of layout.h.
struct established {
  own_segment mine;
  peer_segment theirs;
  hello_packet my_hello;
  hello_packet their_hello;
};

// What a peer says when it refuses us; the bytes of a whole reject packet, header included.
call_error read_reject(std::span<const std::byte> packet);

// The same in two steps that do not block: our hello goes out; when the socket is readable, theirs
// is taken in. nullopt: it is not there yet.
struct offered_hello {
  own_segment control;
  hello_packet mine;
};
result<offered_hello, call_error> offer_hello(const unique_fd& socket, session_role role,
                                              const session_options& options);
result<std::optional<established>, call_error> accept_hello(const unique_fd& socket,
                                                            offered_hello& offer);

result<established, call_error> exchange_hello(const unique_fd& socket, session_role role,
                                               const session_options& options);

}  // namespace ferry
