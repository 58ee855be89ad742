// Starts a worker and connects to it: no daemon, no file, no name.
//
//   auto worker = ferry::launch({"./worker"});
//   if (!worker) return fail(worker.error().message());
//   auto sum = worker->invoke<int>("add", 1, 2);
//
// Threads   as client. Lifetime  the worker ends with the object: an orderly close, then SIGKILL
//           after the grace period. If the host dies, the worker sees the end of its socket and
//           ends too.
// Errors    refused: the command cannot be started. unavailable: it ended before the handshake; the
//           text says how. timeout: no handshake in time. version_mismatch and others: see
//           client.h.
// Source    supervisor/README.md, "Launch".
#pragma once
#include <string>
#include <vector>

#include "engine/client/client.h"
#include "supervisor/child.h"

namespace ferry {

struct launch_options {
  client_options client;
  std::vector<std::string> environment;                      // NAME=VALUE, added to ours
  std::chrono::nanoseconds grace = std::chrono::seconds(2);  // from the close to SIGKILL
};

class launched : public client {
 public:
  launched(client connected, child process) noexcept
      : client(std::move(connected)), process_(std::move(process)) {}
  launched(launched&&) noexcept = default;
  ~launched() {
    if (process_.pid() != 0) close();
  }

  pid_t pid() const noexcept { return process_.pid(); }
  child& process() noexcept { return process_; }

 private:
  child process_;
};

result<launched, call_error> launch(std::vector<std::string> command, launch_options options = {});

}  // namespace ferry
