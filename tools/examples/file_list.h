// Which files to send: those that were named, or the regular ones under some directories.
// Threads   plain functions.
// Errors    none: what cannot be listed is counted in `skipped`, by reason.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/examples/problem.h"

namespace ferry::examples {

struct listed_file {
  std::string name;
  std::uint64_t size_bytes = 0;  // at the time of listing, for the progress bar; 0 = unknown
  bool named = true;             // by the user: then everything that is wrong with it is an error
};

struct file_list {
  std::vector<listed_file> files;
  std::map<problem_kind, std::uint64_t> skipped;
};

file_list list_named(const std::vector<std::string>& names);
// All regular files beneath `roots`, sorted by name within each directory. No link is followed.
file_list list_beneath(const std::vector<std::string>& roots);

}  // namespace ferry::examples
