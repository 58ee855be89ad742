#include "engine/channel/factory/channel_config.h"

#include "engine/channel/factory/retry_policy.h"

namespace ferry {

result<void, channel_error> check_config(const channel_config& config) {
  const auto wrong = [](const char* what) {
    return channel_error(errc::invalid_configuration, what);
  };
  if (config.channel_type == "") return wrong("channel_type is empty");
  if (config.address == "") return wrong("address is empty");
  if (config.connect_timeout_ms == 0u) return wrong("connect_timeout_ms is 0");
  for (const auto& each :
       {config.connect_timeout_ms, config.request_timeout_ms, config.keepalive_interval_ms}) {
    if (each > channel_config::longest_ms)
      return wrong("a timeout or an interval of more than a day");
  }
  if (config.max_retries > retry_policy::most_retries) return wrong("max_retries is more than 100");
  return {};
}

}  // namespace ferry
