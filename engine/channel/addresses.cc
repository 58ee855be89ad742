#include "engine/channel/addresses.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "shm/sys_error.h"

namespace ferry {
namespace {

constexpr int send_buffer_bytes = 2 << 20;

channel_error failed(errc code, const char* call, int why) {
  return {code, error{errc::system, why, call}.message()};
}

channel_error bad_setting(std::string text) {
  return {errc::invalid_configuration, std::move(text)};
}

result<sockaddr_un, channel_error> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) {
    return bad_setting("an empty socket path, or one with a NUL");
  }
  if (path.size() >= sizeof address.sun_path) {
    return channel_error(error{errc::invalid_configuration, 0, "a socket path that is too long",
                               path.size(), sizeof address.sun_path - 1});
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

result<unique_fd, channel_error> new_socket(int family, int type) {
  unique_fd made(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return channel_error(descriptor_error(errno, "socket"));
  return made;
}

// The folder of a socket: made if it is missing, and nobody else's in any case.
result<unique_fd, channel_error> private_folder(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed(errc::invalid_configuration, "mkdir of the socket's folder", errno);
  }
  unique_fd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return failed(errc::invalid_configuration, "open of the socket's folder", errno);
  struct stat info {};
  if (::fstat(opened.get(), &info) != 0) return failed(errc::system, "fstat", errno);
  if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0) {
    return bad_setting("the socket's folder is open to others: it must be ours, with mode 0700");
  }
  return opened;
}

// Removes a socket that nobody listens on; anything else stays.
result<void, channel_error> clear_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return failed(errc::system, "lstat", errno);
  }
  if (!S_ISSOCK(info.st_mode)) return bad_setting("the socket's path is taken by another file");
  auto probe = new_socket(AF_UNIX, SOCK_STREAM);
  if (!probe) return probe.error();
  // Anything but a plain refusal, such as another socket type or a full backlog, is a listener.
  if (::connect(probe->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED) {
    return channel_error(errc::refused, "somebody listens on this path already");
  }
  if (::unlink(path.c_str()) != 0) return failed(errc::system, "unlink", errno);
  return {};
}

struct resolved {
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> list{nullptr, ::freeaddrinfo};
};

result<resolved, channel_error> resolve(const std::string& address, bool to_listen) {
  auto parts = split_address(address);
  if (!parts) return parts.error();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const int rc = ::getaddrinfo(parts->host.empty() ? nullptr : parts->host.c_str(),
                               parts->port.c_str(), &hints, &list);
  if (rc != 0) {
    return channel_error(errc::connection_failed,
                         "no such host: " + address + ": " + ::gai_strerror(rc));
  }
  resolved found;
  found.list.reset(list);
  return found;
}

}  // namespace

result<host_port, channel_error> split_address(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return bad_setting("an address that is not host:port");
  host_port parts{address.substr(0, colon), address.substr(colon + 1)};
  if (parts.host.size() >= 2 && parts.host.front() == '[' && parts.host.back() == ']') {
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  } else if (parts.host.find(':') != std::string::npos) {
    return bad_setting("an IPv6 address without brackets");
  }
  const bool digits = !parts.port.empty() && parts.port.size() <= 5 &&
                      std::ranges::all_of(parts.port, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoi(parts.port) > 65535) return bad_setting("a port that is none");
  return parts;
}

result<unique_fd, channel_error> connect_path(const std::string& path, int type) {
  const auto address = address_of(path);
  if (!address) return address.error();
  auto socket = new_socket(AF_UNIX, type);
  if (!socket) return socket;
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) !=
      0) {
    return failed(errc::connection_failed, "connect", errno);
  }
  tune_socket(socket->get(), {});
  return socket;
}

void tune_socket(int socket, std::chrono::nanoseconds liveness_limit) noexcept {
  int family = 0;
  socklen_t size = sizeof family;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return;
  if (family == AF_UNIX) {
    // The more fits, the more frames leave in one write. What the system refuses is done without.
    if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &send_buffer_bytes, sizeof(int)) != 0) {
      (void)::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof(int));
    }
    return;
  }
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  const auto ms = static_cast<unsigned>(
      std::clamp<std::int64_t>(liveness_limit / std::chrono::milliseconds(1), 0, INT32_MAX));
  if (ms != 0) (void)::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

bool socket_ended(int socket) noexcept {
  pollfd end{socket, POLLRDHUP, 0};
  return ::poll(&end, 1, 0) > 0;
}

result<found_addresses, channel_error> find_addresses(const std::string& hosts) {
  found_addresses together;
  std::vector<host_address>& all = together.all;
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = hosts.find(',', begin);
    auto found = resolve(hosts.substr(begin, end - begin), false);
    if (!found && found.error().code != errc::connection_failed) return found.error();
    if (!found) {
      together.unknown += (together.unknown.empty() ? "" : "; ") + found.error().text;
      continue;
    }
    for (const addrinfo* each = found->list.get(); each != nullptr; each = each->ai_next) {
      host_address one;
      if (each->ai_addrlen > sizeof one.where) continue;
      std::memcpy(&one.where, each->ai_addr, each->ai_addrlen);
      one.size_bytes = each->ai_addrlen;
      char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
      if (::getnameinfo(one.get(), one.size_bytes, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        continue;
      }
      const bool six = one.family() == AF_INET6;
      one.text = (six ? "[" : "") + std::string(host) + (six ? "]:" : ":") + port;
      const bool known = std::ranges::find(all, one.text, &host_address::text) != all.end();
      if (!known && all.size() < max_addresses) all.push_back(std::move(one));
    }
  }
  if (!all.empty()) return together;
  if (together.unknown.empty()) together.unknown = "no address for " + hosts;
  return channel_error(errc::connection_failed, together.unknown);
}

result<path_socket, channel_error> path_socket::listen(const std::string& path, int type,
                                                       int backlog) {
  const auto address = address_of(path);
  if (!address) return address.error();
  auto folder = private_folder(path);
  if (!folder) return folder.error();
  // Two that start at once look one after the other; closing the folder unlocks it.
  while (::flock(folder->get(), LOCK_EX) != 0) {
    if (errno != EINTR) return failed(errc::system, "flock", errno);
  }
  if (auto cleared = clear_stale(path, *address); !cleared) return cleared.error();
  auto socket = new_socket(AF_UNIX, type);
  if (!socket) return socket.error();
  if (::bind(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return failed(errc::system, "bind", errno);
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return failed(errc::system, "lstat", errno);
  path_socket made(std::move(*socket), path, info.st_dev, info.st_ino);
  if (::chmod(path.c_str(), 0600) != 0) return failed(errc::system, "chmod", errno);
  if (::listen(made.socket_.get(), backlog) != 0) return failed(errc::system, "listen", errno);
  return made;
}

path_socket::~path_socket() {
  if (path_.empty() || made_in_.left()) return;  // moved from; or in a forked child
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

result<host_socket, channel_error> listen_host(const std::string& host_and_port, int backlog) {
  auto found = resolve(host_and_port, true);
  if (!found) return found.error();
  const addrinfo& where = *found->list;
  auto socket = new_socket(where.ai_family, where.ai_socktype);
  if (!socket) return socket.error();
  const int on = 1;
  (void)::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket->get(), where.ai_addr, where.ai_addrlen) != 0) {
    return failed(errno == EADDRINUSE ? errc::refused : errc::system, "bind", errno);
  }
  if (::listen(socket->get(), backlog) != 0) return failed(errc::system, "listen", errno);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket->get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return failed(errc::system, "getsockname", errno);
  }
  const auto port =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                        : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  const auto colon = host_and_port.rfind(':');
  return host_socket{std::move(*socket),
                     host_and_port.substr(0, colon) + ":" + std::to_string(port)};
}

}  // namespace ferry
