// Two connected channels over any transport, one test body for all of them.
// The far end lives on a loop with a thread of its own; the near end is driven by the test.
#pragma once
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>

#include "engine/channel/connect.h"
#include "engine/channel/listener.h"
#include "tests/e2e/tls_files.h"
#include "tests/support/sanitized.h"

namespace ferry {

using namespace std::chrono_literals;

inline constexpr auto generous = 30s;  // only ever reached by a failing test

class private_folder {
 public:
  private_folder() {
    char name[] = "/tmp/ferry-channel-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~private_folder() { std::filesystem::remove_all(path_); }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline runtime_instance_id test_instance(std::string_view name = "a") {
  return *runtime_instance_id::make(runtime_type::process, name, "test");
}

inline std::string text_of(const message_result& answer) {
  return answer ? std::string(answer->data.text()) : "error: " + answer.error().message();
}
inline errc code_of(const message_result& answer) { return answer ? errc{} : answer.error().code; }
template <class T>
errc code_of(const result<T, channel_error>& outcome) {
  return outcome ? errc{} : outcome.error().code;
}

// Looks again and again until `done()` holds: for what another thread or process does.
template <class Done>
bool eventually(Done done, std::chrono::nanoseconds limit = generous) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::usleep(500);
  }
  return true;
}

// Something one thread hands to another, once or more often.
template <class T>
class mailbox {
 public:
  void put(T value) {
    const std::lock_guard guard(mutex_);
    values_.push_back(std::move(value));
    came_.notify_all();
  }
  std::optional<T> take(std::chrono::nanoseconds limit = generous) {
    std::unique_lock lock(mutex_);
    if (!came_.wait_for(lock, limit, [&] { return !values_.empty(); })) return std::nullopt;
    T first = std::move(values_.front());
    values_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<T> values_;
};

inline channel_target target_of(const std::string& transport, const private_folder& folder) {
  if (transport == "tcp" || transport == "tls") return {transport, "127.0.0.1:0"};
  return {transport, folder / "channel.sock"};
}

struct channel_ends {
  private_folder folder;
  mailbox<channel_ptr> came;  // to the listener
  std::optional<loop_thread> far_loop;
  std::shared_ptr<channel_listener> listener;
  channel_ptr near, far;

  explicit channel_ends(const std::string& transport, channel_options near_options = {},
                        channel_options far_options = {}) {
    auto thread = loop_thread::start();
    if (!thread) throw std::runtime_error(thread.error().message());
    far_loop.emplace(std::move(*thread));
    far_options.loop = far_loop->loop();
    if (transport == "memory") {
      auto both = memory_channel_pair(test_instance(), near_options, far_options);
      if (!both) throw std::runtime_error(both.error().message());
      near = both->first;
      far = both->second;
      return;
    }
    if (transport == "tls") {
      far_options.tls = server_tls(folder / "");
      near_options.tls = client_tls(folder / "");
    }
    listener_options options;
    options.channel = far_options;
    auto opened = channel_listener::open(target_of(transport, folder), options,
                                         [&](channel_ptr made) { came.put(std::move(made)); });
    if (!opened) throw std::runtime_error(opened.error().message());
    listener = *opened;
    auto connected =
        connect_channel({transport, listener->address()}, test_instance(), near_options);
    if (!connected) throw std::runtime_error(connected.error().message());
    near = *connected;
    far = came.take().value_or(nullptr);
    if (!far) throw std::runtime_error("nobody came");
  }
  ~channel_ends() {
    if (near) near->close();
    near.reset();
    if (far) far->close();
    far.reset();
    if (listener) listener->close();
    while (auto other = came.take(0ns)) (*other)->close();
  }

  // The far end answers every request with what it was sent.
  void echo() {
    far->on_message([to = std::weak_ptr(far)](message&& asked) {
      const auto channel = to.lock();
      if (channel && asked.request_id != 0) {
        (void)channel->reply(asked, execution_success(std::move(asked.data)));
      }
    });
  }
};

// One run of a test for each transport.
class over_each_transport : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (std::getenv("FERRY_TEST_NO_FILTER") != nullptr) {
      GTEST_SKIP() << "expected: no seccomp filter may be added here";
    }
    const auto usable = reactor::create();
    if (!usable) GTEST_SKIP() << "expected: " << usable.error().message();
    if (!has_transport(GetParam())) GTEST_SKIP() << "expected: built without " << GetParam();
  }
};

inline std::string transport_name(const testing::TestParamInfo<std::string>& info) {
  return info.param == "shm+unix" ? "shm" : info.param;
}

inline auto all_transports() {
  return testing::Values<std::string>("shm+unix", "unix", "tcp", "tls", "memory");
}
inline auto connecting_transports() {
  return testing::Values<std::string>("shm+unix", "unix", "tcp", "tls");
}

}  // namespace ferry
