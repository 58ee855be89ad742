#include "engine/channel/factory/publisher.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>

namespace ferry {
namespace {

std::optional<std::uint64_t> own_namespace() {
  struct stat found {};
  if (::stat("/proc/self/ns/pid", &found) != 0) return std::nullopt;
  return found.st_ino;
}

std::optional<std::uint64_t> start_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The name, field 2, may hold anything, also ')': the last one ends it. The start is field 22.
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream rest(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) rest >> skipped;
  std::uint64_t start = 0;
  if (!(rest >> start)) return std::nullopt;
  return start;
}

}  // namespace

std::optional<publisher> publisher::self() {
  const auto where = own_namespace();
  const auto started = start_of(::getpid());
  if (!where || !started) return std::nullopt;
  return publisher{::getpid(), *started, *where};
}

std::optional<publisher> publisher::parse(std::string_view text) {
  std::istringstream from{std::string(text)};
  publisher one;
  if (!(from >> one.pid >> one.started >> one.pid_namespace) || one.pid <= 0) return std::nullopt;
  return one;
}

std::string publisher::text() const { return fmt::format("{} {} {}", pid, started, pid_namespace); }

bool publisher::has_ended() const {
  if (own_namespace() != pid_namespace) return false;
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  const auto start = start_of(pid);
  return start && *start != started;
}

}  // namespace ferry
