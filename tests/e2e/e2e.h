// What the end-to-end tests share: a fixture that starts the test worker, and words for calls.
// Environment   FERRY_REACTOR       which reactor host and worker use; meson runs all with each
//               FERRY_TEST_REACTOR  the one that must then be in use
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <concepts>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/launch.h"
#include "tests/e2e/pattern.h"
#include "tests/support/sanitized.h"

namespace ferry {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

inline constexpr auto generous = 60s;  // only ever reached by a failing test

// A program that was built into the folder of this one.
inline std::string neighbour(const char* name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

inline constexpr std::span<const std::byte> no_bytes;

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// The answer as text; an error as its message, so that a comparison shows it.
inline std::string text_of(const call_result& answer) {
  return answer ? std::string(answer->text()) : "error: " + answer.error().message();
}

// The code of an outcome that must be an error.
template <class T, std::derived_from<call_error> E>
errc code_of(const result<T, E>& outcome) {
  return outcome ? errc{} : outcome.error().code;
}

// Looks again and again until `done()` holds or the time is up: for what another process does and
// nothing here can wait for.
template <class Done>
bool eventually(Done done, std::chrono::nanoseconds limit = generous) {
  const auto deadline = steady::now() + limit;
  while (!done()) {
    if (steady::now() > deadline) return false;
    ::usleep(1000);
  }
  return true;
}

// Drives the client until `done()` holds. False: it does not, in a generous time.
template <class Done>
bool drive(client& host, Done done) {
  const auto deadline = steady::now() + generous;
  while (!done()) {
    if (steady::now() > deadline) return false;
    if (!host.run_once(1s)) return done();
  }
  return true;
}

class e2e : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("FERRY_TEST_NO_FILTER") != nullptr) {
      GTEST_SKIP() << "expected: no seccomp filter may be added here";
    }
    const auto usable = reactor::create();
    if (!usable) GTEST_SKIP() << "expected: " << usable.error().message();
  }

  // The test worker. `worker_options` are words such as "ring_bytes=4096", see test_worker.cc.
  static launched start(launch_options options = {}, std::string worker_options = "") {
    options.environment.push_back("FERRY_TEST_OPTIONS=" + std::move(worker_options));
    auto started = launch({neighbour("test-worker")}, std::move(options));
    if (!started) throw std::runtime_error(started.error().message());
    return std::move(*started);
  }
  static launched start(client_options options, std::string worker_options = "") {
    launch_options all;
    all.client = std::move(options);
    return start(std::move(all), std::move(worker_options));
  }

  static std::string ask(client& host, std::string_view function, std::string_view argument = "") {
    return text_of(host.call(function, bytes_of(argument)));
  }
  static function_id id_of(client& host, std::string_view function) {
    const auto id = host.function(function);
    if (!id) throw std::runtime_error(id.error().message());
    return *id;
  }
};

}  // namespace ferry
