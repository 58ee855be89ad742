// What the kernel tells about a process.
#pragma once
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>

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

// What a process has used of the CPUs: to 10 ms, and no more of it on a busy machine.
inline std::chrono::milliseconds cpu_time_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // the third to the 13th
  std::int64_t user = 0, system = 0;
  fields >> user >> system;
  return std::chrono::milliseconds((user + system) * 1000 / ::sysconf(_SC_CLK_TCK));
}

// What all threads of this process use of the CPUs while `work` runs.
template <class Work>
requires std::is_invocable_v<Work> std::chrono::nanoseconds cpu_time_of(Work work) {
  const auto used = [] {
    timespec all{};
    (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
    return std::chrono::seconds(all.tv_sec) + std::chrono::nanoseconds(all.tv_nsec);
  };
  const auto before = used();
  work();
  return used() - before;
}

}  // namespace ferry
