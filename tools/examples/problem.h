// Why a file was not dealt with as asked: a kind to count, a sentence to print.
// Threads   plain values.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace ferry::examples {

enum class problem_kind : std::uint8_t {
  missing,
  unreadable,     // no permission
  symbolic_link,  // met on a walk, where links are not followed
  directory,
  not_regular,  // a FIFO, a device, a socket
  too_large,
  changed,  // grew or shrank while it was read; the bytes that came were processed
  read_error,
  no_memory,     // no loan of that size to be had
  call_failed,   // the function said no
  wrong_answer,  // the worker's answer is not what this side computed
  worker_lost,
  interrupted,
};

struct problem {
  problem_kind kind;
  std::string text;
};

// As it stands in a summary: "missing", "symbolic link".
std::string_view name_of(problem_kind kind) noexcept;

// A file name on one line and without surprises for a terminal: control characters as \n or \x1b.
std::string shown(std::string_view file_name);

}  // namespace ferry::examples
