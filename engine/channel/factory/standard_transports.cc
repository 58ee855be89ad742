#include "engine/channel/factory/standard_transports.h"

#include "engine/channel/connect.h"
#include "shm/check.h"

namespace ferry {

std::shared_ptr<memory_endpoints> make_memory_endpoints() {
  return memory_endpoints::create(&memory_channel_pair);
}

void add_standard_transports(transport_registry& transports,
                             const std::shared_ptr<memory_endpoints>& endpoints) {
  const connector to_listener = [](const connect_request& request) {
    return connect_channel({request.channel, request.address}, request.instance, request.options);
  };
  const auto add = [&](const char* name, transport how) {
    FERRY_CHECK(transports.add(name, std::move(how)));
  };
  add("memory", {.connect = endpoints->connector(), .remote = false});
  for (const char* const local : {"shm+unix", "unix"}) {
    if (has_transport(local)) add(local, {.connect = to_listener, .remote = false});
  }
  for (const char* const remote : {"tcp", "tls"}) {
    if (has_transport(remote)) add(remote, {.connect = to_listener, .remote = true});
  }
}

}  // namespace ferry
