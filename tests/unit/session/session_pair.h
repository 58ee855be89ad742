// Two cores of one session, both in this process.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <thread>

#include "engine/session/core.h"
#include "shm/socket.h"

namespace ferry {

struct core_pair {
  std::shared_ptr<session_core> host, worker;

  explicit core_pair(session_options host_options = {}, session_options worker_options = {}) {
    auto ends = socket_pair();
    if (!ends) throw std::runtime_error(ends.error().message());
    // Each side waits for the other's hello: it takes two threads.
    std::thread other([&, socket = std::move(ends->second)]() mutable {
      auto opened = session_core::open(std::move(socket), session_role::worker, worker_options);
      if (opened) worker = *opened;
    });
    auto opened = session_core::open(std::move(ends->first), session_role::host, host_options);
    other.join();
    if (!opened) throw std::runtime_error(opened.error().message());
    if (!worker) throw std::runtime_error("the worker's side refused");
    host = *opened;
  }
};

}  // namespace ferry
