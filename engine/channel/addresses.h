// Sockets for channels: connecting and listening ones, by path or by host and port.
// Threads   plain functions. Names are looked up by the system's resolver, which may take its time.
// Errors    connection_failed: nobody listens, or no such host.  invalid_configuration: see
//           listener.h.  refused: somebody listens there.  system, limit.
// Source    engine/channel/README.md, "Listeners".
#pragma once
#include <sys/socket.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "engine/channel/channel_error.h"
#include "shm/birthplace.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

// Non-blocking; `type` is SOCK_STREAM or SOCK_SEQPACKET.
result<unique_fd, channel_error> connect_path(const std::string& path, int type);

// One that needs no resolver.
struct host_address {
  sockaddr_storage where{};
  socklen_t size_bytes = 0;
  std::string text;  // "127.0.0.1:80", "[::1]:80"
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&where); }
  int family() const noexcept { return where.ss_family; }
};
// All that "host:port[,host:port...]" stands for, in the resolver's order, each once; at most
// max_addresses. A name that is unknown is an error only if there is nothing else.
inline constexpr std::size_t max_addresses = 16;
struct found_addresses {
  std::vector<host_address> all;  // never empty
  std::string unknown;            // names that stand for nothing, with the cause
};
result<found_addresses, channel_error> find_addresses(const std::string& hosts);
// What a connected socket of a channel needs: no delay, a bound on silence, room to send.
void tune_socket(int socket, std::chrono::nanoseconds liveness_limit) noexcept;
// Whether the peer of a connected socket has closed its end, read to there or not.
bool socket_ended(int socket) noexcept;

// "host:port" or "[v6]:port".
struct host_port {
  std::string host, port;
};
result<host_port, channel_error> split_address(const std::string& address);

// A listening Unix socket: 0600 in a folder that is ours alone (made with 0700 if it is missing).
// Removes its file when it goes, if that is still the one that it made.
class path_socket {
 public:
  static result<path_socket, channel_error> listen(const std::string& path, int type, int backlog);
  path_socket(path_socket&&) noexcept = default;
  path_socket& operator=(path_socket&&) = delete;
  ~path_socket();
  unique_fd take() noexcept { return std::move(socket_); }

 private:
  path_socket(unique_fd socket, std::string path, dev_t device, ino_t inode)
      : socket_(std::move(socket)), path_(std::move(path)), device_(device), inode_(inode) {}
  unique_fd socket_;
  birthplace made_in_;
  std::string path_;
  dev_t device_;
  ino_t inode_;
};

struct host_socket {
  unique_fd socket;
  std::string address;  // with the port that the kernel gave
};
result<host_socket, channel_error> listen_host(const std::string& host_and_port, int backlog);

}  // namespace ferry
