// A regular file, to be read once and straight into memory that somebody else provides.
// Threads   one at a time.
// Lifetime  owns the descriptor.
// Errors    a problem: missing, unreadable, directory, not_regular, too_large, read_error. Nothing
//           but a regular file is ever opened, so nothing blocks and no device notices.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "shm/result.h"
#include "shm/unique_fd.h"
#include "tools/examples/problem.h"

namespace ferry::examples {

struct file_reading {
  std::uint64_t bytes = 0;         // that are there now: fewer than asked for if the file shrank
  std::optional<problem> changed;  // it grew or shrank meanwhile
};

class file_source {
 public:
  static result<file_source, problem> open(const std::string& name, std::uint64_t max_bytes);

  std::uint64_t size_bytes() const noexcept { return size_bytes_; }  // when it was opened
  // Fills `into`, which is size_bytes() long.
  result<file_reading, problem> read_into(std::span<std::byte> into);

 private:
  file_source(unique_fd file, std::uint64_t size_bytes)
      : file_(std::move(file)), size_bytes_(size_bytes) {}
  std::optional<problem> growth() const;

  unique_fd file_;
  std::uint64_t size_bytes_;
};

}  // namespace ferry::examples
