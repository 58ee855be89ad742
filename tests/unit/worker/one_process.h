// A worker and its hosts in one process: driven by hand, turn by turn, or by a thread.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "engine/client.h"
#include "shm/socket.h"
#include "worker/worker.h"

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

// A host of `w`; the handshake blocks, so it takes two threads.
inline client attach_to(worker& w, client_options options = {}) {
  auto ends = socket_pair();
  if (!ends) throw std::runtime_error(ends.error().message());
  std::thread other([&, socket = std::move(ends->second)]() mutable {
    if (const auto open = w.open(std::move(socket)); !open) {
      ADD_FAILURE() << open.error().message();
    }
  });
  auto made = client::attach(std::move(ends->first), std::move(options));
  other.join();
  if (!made) throw std::runtime_error(made.error().message());
  return std::move(*made);
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

// Serves until it goes. The worker must have a session already.
class serving_thread {
 public:
  explicit serving_thread(worker& w)
      : thread_([&w](std::stop_token stop) {
          while (!stop.stop_requested()) {
            if (!w.run_once(5ms)) std::this_thread::sleep_for(1ms);  // no host just now
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace ferry
