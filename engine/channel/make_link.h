// Which link a transport's name stands for.
// Threads   plain functions.
// Errors    unsupported_channel; connection_failed, invalid_configuration as connect.h.
// Source    engine/channel/README.md, "Transports".
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "engine/channel/connect.h"
#include "engine/channel/host_connect.h"
#include "engine/channel/link.h"

namespace ferry {

using link_result = result<std::unique_ptr<channel_link>, channel_error>;

// Over a connected socket, or one that `connecting` has given and whose connect() goes on. `host`:
// whom TLS expects.
link_result make_link(std::string_view transport, unique_fd socket, bool accepts,
                      std::unique_ptr<host_connect> connecting, const std::string& host,
                      const channel_options& options, const std::shared_ptr<loop_core>& loop);
// Begins to connect; several addresses share the time until `deadline`.
link_result connect_link(const channel_target& where, const channel_options& options,
                         const std::shared_ptr<loop_core>& loop,
                         std::chrono::steady_clock::time_point deadline);

}  // namespace ferry
