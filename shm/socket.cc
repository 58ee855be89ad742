#include "shm/socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "shm/sys_error.h"

namespace ferry {
namespace {

constexpr int max_interruptions = 1000;  // EINTR on a call that does not wait is all but impossible

// Room for what may ride along unasked (credentials, a label, a pidfd), so that it cannot push the
// descriptors out. It lets more than max_packet_fds arrive: take_descriptors closes those.
constexpr std::size_t control_bytes =
    CMSG_SPACE(sizeof(int) * max_packet_fds) + CMSG_SPACE(sizeof(ucred)) + 64;

bool table_is_full(int socket) noexcept {
  const unique_fd probe(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
  return !probe;  // EMFILE, or EINVAL when RLIMIT_NOFILE is 0
}

// Owns every descriptor of the message at once; gives how many there were in all.
std::size_t take_descriptors(msghdr& message, packet& into) noexcept {
  std::size_t count = 0;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t in_part = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < in_part; ++i, ++count) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      unique_fd owned(fd);
      if (count < max_packet_fds) into.fds[count] = std::move(owned);
    }
  }
  into.fd_count = std::min(count, max_packet_fds);
  return count;
}

}  // namespace

result<std::pair<unique_fd, unique_fd>> socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return descriptor_error(errno, "socketpair");
  }
  return std::pair(unique_fd(ends[0]), unique_fd(ends[1]));
}

result<void> send_packet(int socket, std::span<const std::byte> bytes,
                         std::span<const int> fds) noexcept {
  if (bytes.empty()) return error{errc::bad_argument, 0, "empty packet"};
  if (fds.size() > max_packet_fds) {
    return error{errc::bad_argument, 0, "too many descriptors", fds.size(), max_packet_fds};
  }
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * max_packet_fds)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  for (int tries = 0; tries < max_interruptions; ++tries) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    if (errno != EINTR) break;
  }
  switch (errno) {
    case EAGAIN:
    case ENOBUFS: return error{errc::full, 0, "socket"};
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN: return error{errc::unavailable, 0, "the peer closed the socket"};
    case ETOOMANYREFS:
      return error{errc::limit, errno, "descriptors in flight (RLIMIT_NOFILE, ulimit -n)"};
    default: return error{errc::system, errno, "sendmsg"};
  }
}

result<packet> receive_packet(int socket, std::span<std::byte> into) noexcept {
  iovec part{into.data(), into.size()};
  alignas(cmsghdr) std::array<std::byte, control_bytes> control;
  msghdr message{};
  ssize_t size = -1;
  bool was_reset = false;
  for (int tries = 0; tries < max_interruptions; ++tries) {
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    // MSG_TRUNC as a flag: the true length of a packet that is too long.
    size = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    if (size >= 0) break;
    if (errno == EINTR) continue;
    // The peer closed with unread packets of ours. The kernel says so once, before it hands out the
    // packets that the peer had sent: ask again, or its last words are lost.
    if (errno != ECONNRESET || std::exchange(was_reset, true)) break;
  }
  if (size < 0) {
    if (errno == EAGAIN) return error{errc::empty, 0, "socket"};
    if (errno == ECONNRESET || errno == ENOTCONN) {
      return error{errc::unavailable, 0, "the peer closed the socket"};
    }
    return error{errc::system, errno, "recvmsg"};
  }
  packet got;  // from here on it owns what arrived, so every return closes what is not handed out
  const std::size_t fd_count = take_descriptors(message, got);
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    // A full table drops descriptors and reports success. Asked before `got` closes any.
    if (table_is_full(socket)) {
      return error{errc::limit, EMFILE, "descriptor table full (RLIMIT_NOFILE)"};
    }
    return error{errc::corrupt, 0, "too many descriptors"};
  }
  if (fd_count > max_packet_fds) {
    return error{errc::corrupt, 0, "too many descriptors", fd_count, max_packet_fds};
  }
  if (size == 0) return error{errc::unavailable, 0, "the peer closed the socket"};
  got.size_bytes = static_cast<std::size_t>(size);
  if ((message.msg_flags & MSG_TRUNC) != 0 || got.size_bytes > into.size()) {
    return error{errc::corrupt, 0, "packet longer than agreed", got.size_bytes, into.size()};
  }
  return got;
}

}  // namespace ferry
