// Packets with descriptors between two processes: a SOCK_SEQPACKET Unix socket.
// Units     one send is one receive: packets keep their borders. At most max_packet_fds descriptors
//           ride on one.
// Threads   free functions over a borrowed descriptor; any thread may send or receive, a packet
// goes
//           to exactly one receiver. Nothing blocks, nothing raises SIGPIPE, nothing allocates.
// Lifetime  what is sent stays the sender's to close (the kernel keeps its own reference); what is
//           received is owned by the packet. No error path leaves a received descriptor open.
// Errors    full: try when writable.  empty: try when readable.  unavailable: the peer is gone.
//           corrupt: a packet longer than agreed or with too many descriptors; close the session.
//           limit: our descriptor table is full, or too many descriptors are in flight.
// Source    shm/README.md, "The socket".
#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

inline constexpr std::size_t max_packet_fds = 4;

struct packet {
  std::size_t size_bytes = 0;  // bytes written to `into`, at least 1
  std::array<unique_fd, max_packet_fds> fds;
  std::size_t fd_count = 0;
};

// Two connected ends, close-on-exec and non-blocking.  limit, system
result<std::pair<unique_fd, unique_fd>> socket_pair();

// Sends all of it or nothing. An empty packet is refused (bad_argument): the receiver could not
// tell it from the end.  full, unavailable, bad_argument, limit, system
result<void> send_packet(int socket, std::span<const std::byte> bytes,
                         std::span<const int> fds = {}) noexcept;

// Packets that the peer sent before it went are still delivered, then unavailable.
// empty, unavailable, corrupt, limit, system
result<packet> receive_packet(int socket, std::span<std::byte> into) noexcept;

}  // namespace ferry
