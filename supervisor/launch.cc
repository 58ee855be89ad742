#include "supervisor/launch.h"

#include <fmt/format.h>

#include "shm/socket.h"

namespace ferry {

result<launched, call_error> launch(std::vector<std::string> command, launch_options options) {
  auto ends = socket_pair();
  if (!ends) return call_error{ends.error().code, ends.error().message(), false};
  // Must match worker/worker.h, which this folder may not include.
  options.environment.push_back(fmt::format("FERRY_SOCKET_FD={}", child::socket_number));
  auto process = child::spawn(command, ends->second, options.environment);
  if (!process) return std::move(process).error();
  process->set_grace(options.grace);
  ends->second = unique_fd();  // the child has it; ours would hide the child's end
  auto connected = client::attach(std::move(ends->first), options.client);
  if (!connected) {
    call_error why = std::move(connected).error();
    if (why.code == errc::unavailable) {
      if (const auto ended = process->wait(std::chrono::seconds(1))) {
        why.text =
            fmt::format("'{}' ended before the handshake: {}", command.front(), ended->message());
      }
    }
    // It has no session to close: do not wait for it to notice.
    process->set_grace({});
    return why;
  }
  return launched(std::move(*connected), std::move(*process));
}

}  // namespace ferry
