#include "tools/examples/problem.h"

#include <fmt/format.h>

#include <iterator>

namespace ferry::examples {

std::string_view name_of(problem_kind kind) noexcept {
  switch (kind) {
    case problem_kind::missing: return "missing";
    case problem_kind::unreadable: return "unreadable";
    case problem_kind::symbolic_link: return "symbolic link";
    case problem_kind::directory: return "directory";
    case problem_kind::not_regular: return "not a regular file";
    case problem_kind::too_large: return "too large";
    case problem_kind::changed: return "changed while it was read";
    case problem_kind::read_error: return "read error";
    case problem_kind::no_memory: return "no memory";
    case problem_kind::call_failed: return "call failed";
    case problem_kind::wrong_answer: return "wrong answer";
    case problem_kind::worker_lost: return "worker lost";
    case problem_kind::interrupted: return "interrupted";
  }
  return "unknown";
}

std::string shown(std::string_view file_name) {
  std::string out;
  out.reserve(file_name.size());
  for (const char c : file_name) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out.append("\\n");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (byte < 0x20 || byte == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace ferry::examples
