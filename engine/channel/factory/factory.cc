#include "engine/channel/factory/factory.h"

#include <optional>
#include <utility>

#include "shm/check.h"

namespace ferry {
namespace {

constexpr std::string_view default_instance = "default";

creation_failure not_started(runtime_type type, errc why, std::string text) {
  creation_failure failure;
  failure.code = why;
  failure.text = std::move(text);
  failure.runtime = type;
  return failure;
}

// The channel that the config chooses, to be tried first; none: the strategy's order stands.
std::optional<std::string> chosen_channel(const channel_strategy& strategy,
                                          const std::optional<channel_config>& config) {
  if (!config) return std::nullopt;
  if (!config->channel_type && config->address) return strategy.preferred;
  return config->channel_type;
}

// What the config chooses, moved to the front of what the strategy names.
std::vector<creation_way> ways_of(const channel_strategy& strategy,
                                  const std::optional<channel_config>& config) {
  std::vector<creation_way> ways;
  const auto chosen = chosen_channel(strategy, config);
  if (chosen) {
    address_maker address = strategy.addresses.at(*chosen);
    if (config->address) {
      address = [fixed = *config->address](const runtime_instance_id&) -> address_result {
        return fixed;
      };
    }
    ways.push_back({*chosen, std::move(address)});
  }
  for (std::string& channel : strategy.channels()) {
    if (channel == chosen) continue;
    const address_maker& address = strategy.addresses.at(channel);
    ways.push_back({std::move(channel), address});
  }
  return ways;
}

// What is set, and nothing else.
void apply(const channel_config& config, creation_plan& plan) {
  using std::chrono::milliseconds;
  if (config.connect_timeout_ms) plan.connect_timeout = milliseconds(*config.connect_timeout_ms);
  if (config.keepalive_interval_ms) plan.keepalive = milliseconds(*config.keepalive_interval_ms);
  if (const auto limit = config.request_timeout_ms) {
    plan.options.request_timeout = *limit == 0 ? channel::no_limit : milliseconds(*limit);
  }
  if (config.max_retries) plan.retry.max_retries = *config.max_retries;
  plan.extra = config.extra_config;
}

}  // namespace

channel_factory::channel_factory(std::shared_ptr<transport_registry> transports,
                                 factory_options options)
    : transports_(std::move(transports)),
      options_(std::move(options)),
      pool_(options_.max_channels) {
  FERRY_CHECK(transports_);
}

result<void, channel_error> channel_factory::register_strategy(channel_strategy strategy) {
  if (const auto good = check_strategy(strategy); !good) return good.error();
  auto added = std::make_shared<const channel_strategy>(std::move(strategy));
  const std::lock_guard lock(mutex_);
  // Swapped, so that the old one is destroyed after the lock.
  std::swap(strategies_[added->runtime], added);
  return {};
}

channel_factory::strategy_ptr channel_factory::strategy_of(runtime_type type) const {
  const std::lock_guard lock(mutex_);
  const auto found = strategies_.find(type);
  return found == strategies_.end() ? nullptr : found->second;
}

std::optional<channel_strategy> channel_factory::get_strategy(runtime_type type) const {
  const strategy_ptr found = strategy_of(type);
  if (!found) return std::nullopt;
  return *found;
}

std::vector<runtime_type> channel_factory::supported_runtimes() const {
  const std::lock_guard lock(mutex_);
  std::vector<runtime_type> types;
  for (const auto& [type, strategy] : strategies_) types.push_back(type);
  return types;
}

bool channel_factory::is_channel_supported(runtime_type type, const std::string& channel) const {
  const strategy_ptr strategy = strategy_of(type);
  return strategy && strategy->names(channel) && transports_->find(channel) != nullptr;
}

creation_result channel_factory::create_channel(runtime_type type,
                                                const std::optional<channel_config>& config) {
  if (config && config->instance_id) {
    if (config->instance_id->type() != type) {
      return not_started(type, errc::invalid_configuration,
                         config->instance_id->full_id() + " is of another runtime type");
    }
    return create_channel_for_instance(*config->instance_id, config);
  }
  const auto instance = runtime_instance_id::make(type, default_instance);
  if (!instance) return not_started(type, instance.error().code, instance.error().what);
  return create_channel_for_instance(*instance, config);
}

creation_result channel_factory::create_channel_for_instance(
    const runtime_instance_id& instance, const std::optional<channel_config>& config) {
  return create(instance, config, [] { return false; });
}

creation_result channel_factory::get_or_create_channel(
    const runtime_instance_id& instance, const std::optional<channel_config>& config) {
  return pool_.get(instance, [&](const std::function<bool()>& given_up) {
    return create(instance, config, given_up);
  });
}

creation_result channel_factory::create(const runtime_instance_id& instance,
                                        const std::optional<channel_config>& config,
                                        const std::function<bool()>& given_up) const {
  auto plan = plan_for(instance, config);
  if (!plan) return std::move(plan).error();
  return create_channel_by(*plan, *transports_, options_.world, given_up);
}

result<creation_plan, creation_failure> channel_factory::plan_for(
    const runtime_instance_id& instance, const std::optional<channel_config>& config) const {
  const strategy_ptr strategy = strategy_of(instance.type());
  if (!strategy) {
    return not_started(instance.type(), errc::unsupported_runtime, "no strategy is registered");
  }
  if (config) {
    if (const auto good = check_config(*config); !good) {
      return not_started(instance.type(), good.error().code, good.error().text);
    }
    if (config->instance_id && *config->instance_id != instance) {
      return not_started(instance.type(), errc::invalid_configuration,
                         "a config of another instance: " + config->instance_id->full_id());
    }
    if (config->channel_type && !strategy->names(*config->channel_type)) {
      return not_started(instance.type(), errc::unsupported_channel,
                         "the strategy has no channel " + *config->channel_type);
    }
  }
  creation_plan plan{.instance = instance,
                     .ways = ways_of(*strategy, config),
                     .retry = strategy->retry,
                     .connect_timeout = strategy->connect_timeout,
                     .options = options_.channel,
                     .keepalive = options_.keepalive,
                     .extra = {}};
  if (config) apply(*config, plan);
  return plan;
}

}  // namespace ferry
