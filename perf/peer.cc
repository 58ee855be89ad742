#include "perf/peer.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

namespace ferry::perf {
namespace {

// Built and installed beside this program. Apart from it: what a worker costs is then not what the
// harness links.
std::string worker_program() {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  return (self.parent_path() / "ferry-perf-worker").string();
}

}  // namespace

const char* name_of(wait_mode wait) {
  switch (wait) {
    case wait_mode::spin: return "spin";
    case wait_mode::block: return "block";
    case wait_mode::adaptive: return "adaptive";
  }
  return "";
}

launched start_worker(placement where, wait_mode wait, client_options options) {
  launch_options how;
  how.client = std::move(options);
  how.client.session.wait.mode = wait;
  pin_peer(where);  // inherited by the worker
  auto started = launch({worker_program(), name_of(wait)}, std::move(how));
  pin_client(where);
  if (!started) {
    fmt::print(stderr, "ferry-perf: the worker does not start: {}\n", started.error().message());
    std::exit(3);
  }
  return std::move(*started);
}

}  // namespace ferry::perf
