// Which process wrote a file, so that a reader can tell whether it still lives: a number of a
// process alone is given to another one some day.
//
// Layout    "<pid> <start time in clock ticks since boot> <inode of its pid namespace>", decimal.
// Threads   any. Values.
// Source    engine/channel/factory/README.md, "Paths"; proc(5), pid_namespaces(7).
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry {

struct publisher {
  pid_t pid = 0;
  std::uint64_t started = 0;
  std::uint64_t pid_namespace = 0;

  static std::optional<publisher> self();  // nullopt: /proc does not say
  static std::optional<publisher> parse(std::string_view text);
  std::string text() const;
  // It has certainly ended. False also where that cannot be known: from another pid namespace, or
  // without /proc.
  bool has_ended() const;
};

}  // namespace ferry
