// Looks, once in a while, whether the runs of a target leave descriptors or shared mappings behind.
// Only what the engine makes is counted: memfds, sockets, epoll and the like. Of files and pipes
// libFuzzer itself opens some, when it keeps an input or starts a symbolizer.
// Units     runs between two looks: a look reads /proc, which costs as much as a few runs.
// Threads   one at a time.
// Source    tests/fuzz/README.md.
#pragma once
#include <compare>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "shm/check.h"

namespace ferry {

class leak_watch {
 public:
  // After a run, when all that it made is gone. The first runs may make what is then kept.
  void after_run() {
    if (++runs_ % runs_between != 0) return;
    const held now{descriptors(), mappings()};
    if (before_) FERRY_CHECK(now == *before_);
    before_ = now;
  }

 private:
  static constexpr std::size_t runs_between = 64;

  struct held {
    std::size_t descriptors, mappings;
    friend bool operator==(const held&, const held&) = default;
  };

  static std::size_t descriptors() {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;  // the one that lists the folder
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      for (const char* kind : {"/memfd:", "socket:", "anon_inode:"})
        count += target.starts_with(kind);
    }
    return count;
  }
  static std::size_t mappings() {
    std::size_t count = 0;
    std::ifstream lines("/proc/self/maps");
    for (std::string line; std::getline(lines, line);) {
      count += line.find("/memfd:") != std::string::npos;
    }
    return count;
  }

  std::size_t runs_ = 0;
  std::optional<held> before_;
};

}  // namespace ferry
