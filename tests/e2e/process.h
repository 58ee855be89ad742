// What /proc tells about a process.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace ferry {

// A number of /proc/PID/status, such as "RssShmem" (in KiB); -1: no such process or line.
inline std::int64_t status_of(pid_t pid, const std::string& name) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1));
  }
  return -1;
}

// The open descriptors of a process: number and what it is.
inline std::set<std::string> descriptors_of(pid_t pid) {
  std::set<std::string> found;
  const auto folder = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone) found.insert(entry.path().filename().string() + " " + target.string());
  }
  return found;
}

inline std::size_t mappings_of(pid_t pid, const std::string& containing) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.find(containing) != line.npos;
  return count;
}

inline std::size_t threads_of(pid_t pid) {
  const auto count = status_of(pid, "Threads");
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

}  // namespace ferry
