// How operations that wait say that they cannot, or did in vain.
// Threads   plain functions.
// Source    engine/channel/README.md, "Errors".
#pragma once
#include <fmt/format.h>

#include <chrono>

#include "engine/channel/channel_error.h"

namespace ferry {

inline std::uint64_t whole_ms(std::chrono::nanoseconds time) {
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(time).count());
}

inline channel_error timed_out(const char* what, std::chrono::nanoseconds timeout) {
  const auto ms = whole_ms(timeout);
  return {errc::timeout, fmt::format("{} within {} ms", what, ms), ms};
}

inline channel_error in_callback() {
  return {errc::invalid_request, "a callback cannot wait: use the other forms"};
}

}  // namespace ferry
