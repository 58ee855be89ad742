// Transports that do what a test says, and a time that only they let pass.
// Threads   any, except that what a transport does is set before it is used.
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/channel/factory/creation.h"
#include "tests/unit/factory/fake_channel.h"

namespace ferry {

inline runtime_instance_id instance_of(const char* full_id) {
  auto id = runtime_instance_id::parse(full_id);
  FERRY_CHECK(id);
  return *id;
}

class fake_world {
 public:
  using clock = std::chrono::steady_clock;

  // What `name` does when it is asked to connect; unset: connects.
  void add(const std::string& name, connector how = {}, bool remote = false) {
    auto connect = [this, how = std::move(how)](const connect_request& request) -> channel_result {
      note(request);
      if (how) return how(request);
      return channel_ptr(std::make_shared<fake_channel>(request.instance, request.channel));
    };
    FERRY_CHECK(transports->add(name, {.connect = std::move(connect), .remote = remote}));
  }
  void add_failing(const std::string& name, errc code) {
    add(name, [code](const connect_request&) { return channel_error(code, "as the test says"); });
  }
  // A handshake that never comes: all of the time passes.
  void add_silent(const std::string& name) {
    add(name, [this](const connect_request& request) {
      pass(request.options.connect_timeout);
      return channel_error(errc::timeout, "no handshake", 5000);
    });
  }

  creation_world world() {
    creation_world mine;
    mine.now = [this] { return now(); };
    mine.pause = [this](std::chrono::nanoseconds time) {
      const std::lock_guard lock(mutex_);
      pauses_.push_back(time);
      now_ += time;
    };
    mine.random = [] { return ~std::uint64_t{0}; };
    return mine;
  }

  void pass(std::chrono::nanoseconds time) {
    const std::lock_guard lock(mutex_);
    now_ += time;
  }
  clock::time_point now() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  std::vector<std::chrono::nanoseconds> pauses() const {
    const std::lock_guard lock(mutex_);
    return pauses_;
  }
  // "channel address", in the order in which they were tried.
  std::vector<std::string> tried() const {
    const std::lock_guard lock(mutex_);
    return tried_;
  }

  std::shared_ptr<transport_registry> transports = std::make_shared<transport_registry>();

 private:
  void note(const connect_request& request) {
    const std::lock_guard lock(mutex_);
    tried_.push_back(request.channel + " " + request.address);
  }

  mutable std::mutex mutex_;
  clock::time_point now_{std::chrono::hours(1)};
  std::vector<std::chrono::nanoseconds> pauses_;
  std::vector<std::string> tried_;
};

}  // namespace ferry
