// What a caller may ask of one channel: SPEAR's ChannelConfig, with its names. What is not set is
// as the strategy and the factory have it, whose own defaults are SPEAR's figures.
// Units     milliseconds, as the names say.
// Threads   a plain value.
// Errors    check_config: invalid_configuration, which names the field.
// Source    engine/channel/factory/README.md, "Configuration".
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/channel/channel_error.h"
#include "engine/channel/instance_id.h"
#include "shm/result.h"

namespace ferry {

struct channel_config {
  static constexpr std::uint64_t longest_ms = 24 * 3600 * 1000ull;

  std::optional<runtime_instance_id> instance_id;  // of create_channel(); else "default"
  // To be tried before the others of the strategy; an address alone is that of the preferred one.
  std::optional<std::string> channel_type;
  std::optional<std::string> address;                  // else one made for the instance
  std::optional<std::uint64_t> connect_timeout_ms;     // 5000. Of one attempt, with its handshake
  std::optional<std::uint64_t> request_timeout_ms;     // 30000. 0: no limit
  std::optional<std::uint64_t> keepalive_interval_ms;  // 10000. 0: none. Of remote transports only
  std::optional<std::uint32_t> max_retries;            // 3. Per channel, after the first attempt
  std::map<std::string, std::string> extra_config;     // for the transport; Ferry's own use none
};

result<void, channel_error> check_config(const channel_config& config);

}  // namespace ferry
