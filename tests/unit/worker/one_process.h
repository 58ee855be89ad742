// A worker and its hosts in one process: driven by hand, turn by turn, or by a thread.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "tests/support/attached.h"

namespace ferry {

using namespace std::chrono_literals;

inline constexpr auto generous = 60s;  // only ever reached by a failing test

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)each;
    ++count;
  }
  return count;
}

template <class T, class E>
errc code_of(const result<T, E>& outcome) {
  return outcome ? errc{} : outcome.error().code;
}

// Runs both sides in turn until `done()` holds; false if it never does.
template <class Done>
bool turn_until(worker& w, client& host, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + generous;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    (void)w.run_once();
    (void)host.run_once();
  }
  return true;
}

}  // namespace ferry
