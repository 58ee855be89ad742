#include "engine/channel/factory/strategy.h"

#include <algorithm>
#include <set>
#include <utility>

namespace ferry {
namespace {

using namespace std::chrono_literals;

address_maker always(std::string address) {
  return [address = std::move(address)](const runtime_instance_id&) -> address_result {
    return address;
  };
}

channel_error wrong(std::string what) { return {errc::invalid_configuration, std::move(what)}; }

}  // namespace

std::vector<std::string> channel_strategy::channels() const {
  std::vector<std::string> all{preferred};
  all.insert(all.end(), fallbacks.begin(), fallbacks.end());
  return all;
}

bool channel_strategy::names(const std::string& channel) const {
  return channel == preferred || std::ranges::find(fallbacks, channel) != fallbacks.end();
}

result<void, channel_error> check_strategy(const channel_strategy& strategy) {
  if (name_of(strategy.runtime) == "unknown") return wrong("a strategy of an unknown runtime type");
  if (strategy.preferred.empty()) return wrong("a strategy without a preferred channel");
  const auto channels = strategy.channels();
  if (channels.size() > channel_strategy::max_channels) {
    return wrong("a strategy of more than 8 channels");
  }
  std::set<std::string> seen;
  for (const std::string& channel : channels) {
    if (channel.empty()) return wrong("a channel without a name");
    if (!seen.insert(channel).second) return wrong("channel " + channel + " stands there twice");
    const auto address = strategy.addresses.find(channel);
    if (address == strategy.addresses.end() || !address->second) {
      return wrong("channel " + channel + " has no address");
    }
  }
  const retry_policy& retry = strategy.retry;
  if (retry.max_retries > retry_policy::most_retries) return wrong("more than 100 retries");
  if (retry.first_delay < 0ns || retry.longest_delay < retry.first_delay ||
      retry.longest_delay > 1h) {
    return wrong("delays of retries that are negative, descending or longer than an hour");
  }
  if (strategy.connect_timeout <= 0ns ||
      strategy.connect_timeout > channel_strategy::longest_connect_timeout) {
    return wrong("a connect_timeout that is not more than 0 and at most a day");
  }
  return {};
}

strategy_builder& strategy_builder::runtime(runtime_type type) {
  runtime_ = type;
  return *this;
}

strategy_builder& strategy_builder::preferred(std::string channel, address_maker address) {
  if (!strategy_.preferred.empty()) twice_ = true;
  strategy_.preferred = channel;
  strategy_.addresses[std::move(channel)] = std::move(address);
  return *this;
}

strategy_builder& strategy_builder::preferred(std::string channel, std::string address) {
  return preferred(std::move(channel), always(std::move(address)));
}

strategy_builder& strategy_builder::fallback(std::string channel, address_maker address) {
  strategy_.fallbacks.push_back(channel);
  strategy_.addresses[std::move(channel)] = std::move(address);
  return *this;
}

strategy_builder& strategy_builder::fallback(std::string channel, std::string address) {
  return fallback(std::move(channel), always(std::move(address)));
}

strategy_builder& strategy_builder::retries(retry_policy policy) {
  strategy_.retry = policy;
  return *this;
}

strategy_builder& strategy_builder::connect_timeout(std::chrono::nanoseconds timeout) {
  strategy_.connect_timeout = timeout;
  return *this;
}

result<channel_strategy, channel_error> strategy_builder::build() const {
  if (!runtime_) return wrong("a strategy without a runtime type");
  if (twice_) return wrong("a strategy with two preferred channels");
  channel_strategy strategy = strategy_;
  strategy.runtime = *runtime_;
  if (const auto good = check_strategy(strategy); !good) return good.error();
  return strategy;
}

result<channel_strategy, channel_error> default_strategy(runtime_type type,
                                                         const socket_paths& paths) {
  const auto socket = [&paths](std::string_view ending) -> address_maker {
    return [paths, ending](const runtime_instance_id& instance) {
      return paths.path_for(instance, ending);
    };
  };
  const address_maker tcp = [board = address_board(paths)](const runtime_instance_id& instance) {
    return board.find(instance, "tcp");
  };
  strategy_builder builder;
  builder.runtime(type);
  switch (type) {
    case runtime_type::process:
      return builder.preferred("shm+unix", socket(socket_paths::packet_ending))
          .fallback("unix", socket(socket_paths::stream_ending))
          .fallback("tcp", tcp)
          .build();
    case runtime_type::kubernetes:
      return builder.preferred("grpc", default_grpc_address).fallback("tcp", tcp).build();
    case runtime_type::wasm: return builder.preferred("memory", default_memory_address).build();
  }
  return channel_error(errc::unsupported_runtime, "no default strategy for this runtime type");
}

}  // namespace ferry
