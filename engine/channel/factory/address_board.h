// Where an instance can be reached over a network: its listener takes a port from the kernel and
// publishes the address here; whoever wants to connect finds it.
//
//   board.publish(instance, "tcp", listener->address());       // in the worker
//   auto address = board.find(instance, "tcp");                // in the host
//
// Layout    a file name.<transport> in the private directory, name as socket_paths.h. Its first
//           line is the address, its second who published it, see publisher.h.
// Threads   any; also any number of processes of the user: an address appears and changes as a
//           whole.
// Lifetime  a value. What was published counts until it is withdrawn or the process that published
//           it has ended. While that lives an address may still outlive its listener, and a TCP
//           port may be another's by then: only TLS, or a socket in the file system, proves who
//           listens.
// Errors    find: connection_failed: nothing is published, or by a process that has ended.
//           corrupt: what is, is no address.  invalid_configuration: a transport that is not 1 to
//           15 of [a-z0-9] or is named like the ending of a socket; an address that is not 1 to 255
//           visible characters.  refused, system: as socket_paths.h.
// Source    engine/channel/factory/README.md, "Paths".
#pragma once
#include <string>
#include <string_view>

#include "engine/channel/factory/socket_paths.h"

namespace ferry {

class address_board {
 public:
  static constexpr std::size_t max_address_bytes = 255;

  explicit address_board(socket_paths paths) : paths_(std::move(paths)) {}

  result<void, channel_error> publish(const runtime_instance_id& instance,
                                      std::string_view transport, std::string_view address) const;
  result<std::string, channel_error> find(const runtime_instance_id& instance,
                                          std::string_view transport) const;
  void withdraw(const runtime_instance_id& instance, std::string_view transport) const;

 private:
  // The name of the file, without the directory.
  result<std::string, channel_error> file_for(const runtime_instance_id& instance,
                                              std::string_view transport) const;
  socket_paths paths_;
};

}  // namespace ferry
