// What a caller may ask of one channel: SPEAR's ChannelConfig, with its names and defaults.
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
  static constexpr const char* default_type = "unix";
  // SPEAR's default address is a name that any user could create first. Here it means "not chosen":
  // nobody ever connects there.
  static constexpr const char* default_address = "/tmp/spear-default.sock";
  static constexpr std::uint64_t longest_ms = 24 * 3600 * 1000ull;

  std::optional<runtime_instance_id> instance_id;  // of create_channel(); else "default"
  std::string channel_type = default_type;
  std::string address = default_address;
  std::uint64_t connect_timeout_ms = 5000;          // of one attempt: connect and handshake
  std::uint64_t request_timeout_ms = 30000;         // 0: no limit
  std::uint64_t keepalive_interval_ms = 10000;      // 0: none. Of remote transports only
  std::uint32_t max_retries = 3;                    // per channel type, after the first attempt
  std::map<std::string, std::string> extra_config;  // for the transport; Ferry's own use none

  bool chooses_address() const { return address != default_address; }
  // Whether it asks for a channel of its own, to be tried before those of the strategy.
  bool chooses_channel() const { return chooses_address() || channel_type != default_type; }
};

result<void, channel_error> check_config(const channel_config& config);

}  // namespace ferry
