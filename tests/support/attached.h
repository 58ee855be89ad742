// A worker of this process and its hosts.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "engine/client/client.h"
#include "shm/socket.h"
#include "worker/worker.h"

namespace ferry {

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

// Serves until it goes. The worker must have a session already.
class serving_thread {
 public:
  explicit serving_thread(worker& w)
      : thread_([&w](std::stop_token stop) {
          while (!stop.stop_requested()) {
            if (!w.run_once(std::chrono::milliseconds(5))) {
              std::this_thread::sleep_for(std::chrono::milliseconds(1));  // no host just now
            }
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace ferry
