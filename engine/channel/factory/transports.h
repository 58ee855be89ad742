// The transports that a factory may use, by name: each is a function that connects. A new one is
// added here and named in a strategy; nothing else changes.
//
//   transports.add("vsock", {.connect = connect_vsock, .remote = true});
//
// Threads   any. A connector is called by any thread, by several at once.
// Lifetime  what find() gave stays usable after it was replaced.
// Errors    add: invalid_configuration: no name, or no connector.
// Source    engine/channel/factory/README.md, "Transports".
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/channel/connect.h"

namespace ferry {

struct connect_request {
  runtime_instance_id instance;
  std::string channel;                       // the name that the transport was asked for by
  std::string address;                       // made for this instance and this transport
  channel_options options;                   // connect_timeout covers connect and handshake
  std::map<std::string, std::string> extra;  // channel_config::extra_config
};

// Blocks until the handshake is done, for at most options.connect_timeout. A channel that comes
// later than that is closed by the factory. What it throws is caught there too.
using connector = std::function<channel_result(const connect_request&)>;

struct transport {
  connector connect;
  bool remote = false;  // the loss of a peer may go unnoticed: keepalive applies
};

class transport_registry {
 public:
  result<void, channel_error> add(const std::string& name, transport how);  // replaces
  std::shared_ptr<const transport> find(const std::string& name) const;     // null: unknown
  std::vector<std::string> names() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const transport>> transports_;
};

}  // namespace ferry
