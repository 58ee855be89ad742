// What people see while it runs: lines of one message each and, on a terminal, a bar that moves.
// Threads   one at a time.
// Errors    none: output that fails is lost.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/examples/problem.h"

namespace ferry::examples {

struct work_done {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

class console {
 public:
  using clock = std::chrono::steady_clock;

  // `bar`: whether stderr is a terminal.
  console(bool bar, bool verbose) : bar_(bar), verbose_(verbose) {}
  ~console() { clear(); }
  console(const console&) = delete;
  console& operator=(const console&) = delete;

  // One line on stderr: "files-host: NAME: what".
  void say(std::string_view file_name, std::string_view what);
  void say(std::string_view what);
  bool verbose() const noexcept { return verbose_; }
  // One line on stdout.
  void print(std::string_view line);

  // The bar: `total` at the beginning, then as often as one likes; it is drawn 10 times a second.
  void begin(work_done total);
  void update(work_done done);
  void clear() noexcept;

 private:
  const bool bar_;
  const bool verbose_;
  bool drawn_ = false;
  work_done total_;
  clock::time_point began_;
  clock::time_point next_draw_;
};

}  // namespace ferry::examples
