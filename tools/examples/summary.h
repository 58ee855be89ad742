// What a run came to, for people and for programs.
// Units     bytes of files, GB/s in 10^9 bytes.
// Threads   a plain value.
#pragma once
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tools/examples/problem.h"

namespace ferry::examples {

struct summary {
  struct trouble {
    std::string name;
    problem what;
  };

  std::string job;
  std::string reactor;
  std::uint64_t files = 0;  // answered, rightly or wrongly
  std::uint64_t empty = 0;  // of these, of no bytes
  std::uint64_t bytes = 0;
  double seconds = 0;
  std::uint64_t verified = 0;
  std::uint64_t failed = 0;  // answers that were wrong
  std::uint64_t not_sent = 0;
  std::uint64_t relaunches = 0;
  std::map<problem_kind, std::uint64_t> skipped;  // on the walk: no errors
  std::vector<trouble> problems;
  int status = 0;  // of the program

  double gb_per_s() const { return seconds > 0 ? static_cast<double>(bytes) / 1e9 / seconds : 0; }
};

void print_text(std::FILE* out, const summary& of);
void print_json(std::FILE* out, const summary& of);

}  // namespace ferry::examples
