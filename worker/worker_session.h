// The way from an answer to its caller; shared by the worker and the responders it gave out.
// Threads   any. On the thread that serves, waiting for room reads the session; others only retry.
// Source    worker/README.md, "Answers".
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "engine/session/session.h"

namespace ferry {

class worker_session : public loop_source {
 public:
  explicit worker_session(std::unique_ptr<session> opened)
      : session_(std::move(opened)), core_(session_->shared_core()) {}
  std::size_t turn() override { return serve_(); }
  bool has_input() noexcept override { return session_->has_input(); }
  void ready(std::uint8_t, const reactor_event&) override { session_->serve_socket(); }
  void arm() override { session_->arm(); }
  void disarm() noexcept override { session_->disarm(); }
  clock::time_point next_due() noexcept override {
    return armed() ? session_->next_due() : clock::time_point::max();
  }
  std::size_t tick(clock::time_point) override {
    core_->trim(false);
    return 0;
  }
  session* direct() noexcept override { return session_.get(); }
  std::function<std::size_t()> serve_;

  session_core& core() noexcept { return *core_; }
  session& input() noexcept { return *session_; }  // only on the thread that serves
  void serve_here() noexcept { server_ = std::this_thread::get_id(); }
  void end_serving() noexcept { server_ = std::thread::id(); }

  // Publishes the answer; waits while the ring is full and the caller lives. `Argument`:
  // std::span<const std::byte> or loan&.
  template <class Argument>
  result<void> answer(const record_fields& fields, Argument&& argument);

 private:
  // Between two tries of a thread that cannot wait for room because another one reads the session.
  static constexpr auto retry_pause = std::chrono::microseconds(50);

  std::unique_ptr<session> session_;
  std::shared_ptr<session_core> core_;
  std::atomic<std::thread::id> server_{};
};

template <class Argument>
result<void> worker_session::answer(const record_fields& fields, Argument&& argument) {
  result<void> sent = core_->send(fields, argument);
  if (sent || sent.error().code != errc::full) return sent;
  auto attempt = [&] {
    sent = core_->send(fields, argument);
    return sent || sent.error().code != errc::full;
  };
  if (server_.load() == std::this_thread::get_id()) {
    const condition there{[](void* check) { return (*static_cast<decltype(attempt)*>(check))(); },
                          &attempt};
    // The caller reads in its own time: there is no limit but its life. Input must not end the
    // wait, since nobody reads it here: look at the ring, then sleep for a moment.
    while (!attempt() && !core_->over()) {
      // Its last calls still wait to be read, so the session is not over; its end is certain.
      if (session_->peer_gone()) return error{errc::closed, 0, "the caller is gone"};
      const woke how = session_->wait(std::nullopt, true, there);
      if (how == woke::condition) break;  // sent: another attempt would send it twice
      if (how == woke::input) {
        session_->serve_socket();
        std::this_thread::sleep_for(retry_pause);
      }
    }
  } else {
    while (!attempt() && !core_->over()) {
      // Nobody may be reading the session just now, so look for its end ourselves.
      if (core_->peer_hung_up()) return error{errc::closed, 0, "the caller is gone"};
      std::this_thread::sleep_for(retry_pause);
    }
  }
  if (core_->over()) return error{errc::closed, 0, "the caller is gone"};
  return sent;
}

}  // namespace ferry
