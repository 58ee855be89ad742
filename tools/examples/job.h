// What is done with a file: the function to call, and the same computed here to check its answer.
// Threads   one at a time.
// Errors    make_job: bad_argument with a text. answer(): the worker's bytes do not decode.
#pragma once
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "shm/result.h"

namespace ferry::examples {

struct job {
  std::string function;  // its name at the worker
  std::string prefix;    // stands before the file's bytes in the argument
  // Both give the outcome as text, to be compared and printed: a digest in hex, "3 14 159".
  std::function<std::string(std::span<const std::byte> file)> compute;
  std::function<result<std::string>(std::span<const std::byte> bytes)> answer;
};

// sha256, wc or search; the pattern is for search.
result<job> make_job(std::string_view name, std::string_view pattern);

}  // namespace ferry::examples
