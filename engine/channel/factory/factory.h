// Makes the channels to instances: knows for each runtime type which transports to try in which
// order and where, and shares one channel among all who want the same instance.
//
//   auto transports = std::make_shared<transport_registry>();
//   add_standard_transports(*transports, make_memory_endpoints());
//   channel_factory factory(transports);
//   const auto paths = socket_paths::open();
//   for (const auto type : all_runtime_types) {
//     factory.register_strategy(*default_strategy(type, *paths));
//   }
//   auto chan = factory.get_or_create_channel(*runtime_instance_id::parse("process:job-7"));
//   if (!chan) return fail(chan.error().message());   // every attempt and its cause
//   (*chan)->type();                                  // "shm+unix", or the fallback that it took
//
// Threads   every operation: any thread; none holds a lock while it connects or closes. Making a
//           channel blocks, see creation.h for how long.
// Lifetime  the factory holds a reference to the pooled channels, to no others; its end drops them.
// Errors    creation: unsupported_runtime: no strategy for this type.  unsupported_channel: the
//           config asks for a channel that the strategy does not name.  invalid_configuration: see
//           check_config.  channel_creation_failed, authentication_failed, closed: creation.h.
//           limit, invalid_request: channel_pool.h.
// Source    engine/channel/factory/README.md.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/channel/factory/channel_config.h"
#include "engine/channel/factory/channel_pool.h"
#include "engine/channel/factory/creation.h"
#include "engine/channel/factory/strategy.h"
#include "engine/channel/factory/transports.h"

namespace ferry {

inline constexpr std::array all_runtime_types{runtime_type::process, runtime_type::kubernetes,
                                              runtime_type::wasm};

struct factory_options {
  channel_options channel;          // of every channel; timeouts and token are set per channel
  std::size_t max_channels = 1000;  // in the pool
  std::chrono::nanoseconds keepalive = std::chrono::seconds(10);  // of remote transports
  creation_world world;
};

class channel_factory {
 public:
  explicit channel_factory(std::shared_ptr<transport_registry> transports,
                           factory_options options = {});

  // Replaces the strategy of its runtime type; creations under way keep the old one.
  result<void, channel_error> register_strategy(channel_strategy strategy);
  std::optional<channel_strategy> get_strategy(runtime_type type) const;
  std::vector<runtime_type> supported_runtimes() const;
  // Whether the strategy of this type names the channel and a transport of this name is there.
  bool is_channel_supported(runtime_type type, const std::string& channel) const;

  // A channel of the caller's own. For the config's instance, else for the instance "default".
  creation_result create_channel(runtime_type type,
                                 const std::optional<channel_config>& config = {});
  creation_result create_channel_for_instance(const runtime_instance_id& instance,
                                              const std::optional<channel_config>& config = {});
  // The shared channel of this instance. The config counts only for whoever makes it.
  creation_result get_or_create_channel(const runtime_instance_id& instance,
                                        const std::optional<channel_config>& config = {});

  // Of the shared channels. close_channel: false if there was none.
  bool close_channel(const runtime_instance_id& instance) { return pool_.close(instance); }
  std::size_t close_all() { return pool_.close_all(); }
  bool has_channel(const runtime_instance_id& instance) const { return pool_.has(instance); }
  std::size_t active_count() const { return pool_.size(); }
  std::vector<runtime_instance_id> active_instances() const { return pool_.instances(); }
  std::optional<channel_stats> stats_of(const runtime_instance_id& instance) const {
    return pool_.stats_of(instance);
  }

 private:
  using strategy_ptr = std::shared_ptr<const channel_strategy>;
  strategy_ptr strategy_of(runtime_type type) const;
  result<creation_plan, creation_failure> plan_for(
      const runtime_instance_id& instance, const std::optional<channel_config>& config) const;
  creation_result create(const runtime_instance_id& instance,
                         const std::optional<channel_config>& config,
                         const std::function<bool()>& given_up) const;

  const std::shared_ptr<transport_registry> transports_;
  const factory_options options_;
  mutable std::mutex mutex_;  // guards strategies_
  std::map<runtime_type, strategy_ptr> strategies_;
  channel_pool pool_;
};

}  // namespace ferry
