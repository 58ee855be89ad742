// Who listens within this process, by name: the place where the two ends of a memory channel meet.
//
//   auto listening = endpoints->listen("in-process", options, [](channel_ptr accepted) {...});
//   transports.add("memory", {.connect = endpoints->connector()});
//
// Threads   any. `accept` runs on the thread that connects, on several at once.
// Lifetime  dropping what listen() gave ends the listening, not the channels. A connection that is
//           under way then may still be accepted: what `accept` uses must be shared with it.
// Errors    listen: refused: somebody listens under this name.  connect: connection_failed: nobody
//           does; or what the pair's maker or `accept` gave.
// Source    engine/channel/factory/README.md, "Transports".
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/channel/factory/transports.h"

namespace ferry {

class memory_endpoints : public std::enable_shared_from_this<memory_endpoints> {
 public:
  using pair_result = result<std::pair<channel_ptr, channel_ptr>, channel_error>;
  using pair_maker = std::function<pair_result(
      const runtime_instance_id&, const channel_options& first, const channel_options& second)>;
  // Gets the listener's end. An error is told to the connector, whose end is closed.
  using acceptor = std::function<result<void, channel_error>(channel_ptr)>;

  // Listens while it lives.
  class listening {
   public:
    listening(std::weak_ptr<memory_endpoints> with, std::string name, std::uint64_t id)
        : with_(std::move(with)), name_(std::move(name)), id_(id) {}
    listening(listening&& other) noexcept
        : with_(std::exchange(other.with_, {})), name_(std::move(other.name_)), id_(other.id_) {}
    listening& operator=(listening&&) = delete;
    ~listening();

   private:
    std::weak_ptr<memory_endpoints> with_;
    std::string name_;
    std::uint64_t id_;
  };

  // `make` is memory_channel_pair, or a test's.
  static std::shared_ptr<memory_endpoints> create(pair_maker make);

  result<listening, channel_error> listen(const std::string& name, channel_options options,
                                          acceptor accept);
  channel_result connect(const connect_request& request);
  ferry::connector connector();  // for a transport_registry; keeps these endpoints alive

 private:
  struct endpoint {
    std::uint64_t id;
    channel_options options;
    acceptor accept;
  };
  explicit memory_endpoints(pair_maker make) : make_(std::move(make)) {}
  void stop(const std::string& name, std::uint64_t id);

  const pair_maker make_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const endpoint>> endpoints_;
  std::uint64_t last_id_ = 0;
};

}  // namespace ferry
