#include "tests/fault/footprint.h"

#include <dirent.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace ferry {
namespace {

std::size_t entries_of(const char* folder) {
  DIR* listing = ::opendir(folder);
  std::size_t count = 0;
  while (listing != nullptr && ::readdir(listing) != nullptr) ++count;
  if (listing != nullptr) ::closedir(listing);
  return count;
}

std::size_t lines_with(const char* file, const char* word) {
  std::ifstream lines(file);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find(word) != std::string::npos) ++count;
  }
  return count;
}

std::size_t children_of_all_threads() {
  std::size_t count = 0;
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::ifstream list(thread.path() / "children");
    for (std::string pid; list >> pid;) ++count;
  }
  return count;
}

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    names.insert(entry.path().string());
  }
  return names;
}

}  // namespace

footprint footprint::now() {
  return {entries_of("/proc/self/fd"), lines_with("/proc/self/maps", "/memfd:"),
          children_of_all_threads()};
}

std::ostream& operator<<(std::ostream& out, const footprint& held) {
  return out << held.descriptors << " descriptors, " << held.memfd_mappings << " memfd mappings, "
             << held.children << " children";
}

std::size_t resident_bytes() {
  std::size_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::set<std::string> files_left() {
  std::set<std::string> left;
  for (const char* folder : {"/dev/shm", "/tmp", "/var/tmp", "/run"}) {
    for (const std::string& name : names_in(folder)) {
      // The test's own folder, and build trees named after the project, are not what it leaves.
      if (name.find("ferry-session") != std::string::npos ||
          (name.find("ferry") != std::string::npos && !std::filesystem::is_directory(name))) {
        left.insert(name);
      }
    }
  }
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);) {
    if (line.find("ferry") != std::string::npos) left.insert(line.substr(line.find("ferry")));
  }
  return left;
}

std::set<std::string> files_left_since(const std::set<std::string>& before) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    std::set<std::string> fresh;
    std::ranges::set_difference(files_left(), before, std::inserter(fresh, fresh.end()));
    if (fresh.empty() || std::chrono::steady_clock::now() > deadline) return fresh;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

private_folder::private_folder() : before_(std::filesystem::current_path()) {
  std::string name = (std::filesystem::temp_directory_path() / "fault-test.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
  std::filesystem::current_path(path_);
  for (const char* variable : {"TMPDIR", "HOME", "XDG_RUNTIME_DIR"}) {
    ::setenv(variable, path_.c_str(), 1);
  }
}

private_folder::~private_folder() {
  std::error_code ignored;
  std::filesystem::current_path(before_, ignored);
  std::filesystem::remove_all(path_, ignored);
  for (const char* variable : {"TMPDIR", "XDG_RUNTIME_DIR"}) ::unsetenv(variable);
}

std::set<std::string> private_folder::contents() const { return names_in(path_); }

bool ended_within(int pidfd, int milliseconds) {
  pollfd end{pidfd, POLLIN, 0};
  return ::poll(&end, 1, milliseconds) == 1;
}

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

std::string beside_me(const char* program) {
  std::array<char, PATH_MAX> self{};
  if (::readlink("/proc/self/exe", self.data(), self.size() - 1) < 0) std::abort();
  return (std::filesystem::path(self.data()).parent_path() / program).string();
}

}  // namespace ferry
