// Makes channels: connects to a listener, or pairs two ends within a process.
// Threads   any.
// Errors    connection_failed: nobody there, or the link broke.  authentication_failed: the peer
//           refused us, or we it.  timeout: connect and handshake took longer than
//           connect_timeout.  unsupported_channel: no transport of this name here.
//           invalid_configuration: an address or an option that makes no sense.
// Source    engine/channel/README.md, "Transports".
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engine/channel/options.h"
#include "shm/unique_fd.h"

namespace ferry {

using channel_ptr = std::shared_ptr<channel>;
using channel_result = result<channel_ptr, channel_error>;
using on_channel = unique_function<void(channel_result&&)>;

// Where to: transport "shm+unix" or "unix" with a path, "tcp" or "tls" with "host:port", or several
// of these with commas between them. All addresses that they stand for are tried, in order.
struct channel_target {
  std::string transport;
  std::string address;
};

// Blocks up to connect_timeout; drives the loop meanwhile, so a listener on the same loop will do.
channel_result connect_channel(const channel_target& where, const runtime_instance_id& instance,
                               channel_options options = {});
// `done` runs on the thread that drives. An error: not started. Names in `where` are resolved
// before it returns; numbers need no resolver, see resolve_hosts().
result<void, channel_error> connect_channel_async(const channel_target& where,
                                                  const runtime_instance_id& instance,
                                                  channel_options options, on_channel done);
// The same address in numbers: "example.org:80" becomes "203.0.113.7:80,[2001:db8::7]:80". Blocks
// as the system's resolver does, and touches no loop: whoever may not hold one up runs it on
// another thread, then connects to what it gave. With tls, set tls_options::host_name to the name.
result<std::string, channel_error> resolve_hosts(const std::string& hosts);
// Over a connected socket that was inherited: SOCK_SEQPACKET for shm+unix, SOCK_STREAM for unix.
// `accepts`: this side waits for the other's hello. The socket is the instance's, so a hello that
// names another one is refused, authentication_failed on both sides.
channel_result adopt_channel(unique_fd socket, bool accepts, const runtime_instance_id& instance,
                             channel_options options = {});
// The same without waiting: `done` runs on the thread that drives.
result<void, channel_error> adopt_channel_async(unique_fd socket, bool accepts,
                                                const runtime_instance_id& instance,
                                                channel_options options, on_channel done);
// Both ends in this process, connected. Bodies change owner, nothing is copied.
result<std::pair<channel_ptr, channel_ptr>, channel_error> memory_channel_pair(
    const runtime_instance_id& instance, const channel_options& first,
    const channel_options& second);

// "memory", "shm+unix", "unix", "tcp", and "tls" where it was built in.
bool has_transport(std::string_view name) noexcept;

}  // namespace ferry
