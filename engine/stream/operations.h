// What a coroutine awaits on a stream: the next item, or room for one more.
// Threads   the one that drives the loop.
// Lifetime  in the coroutine's frame; destroyed, it waits no more.
// Source    engine/stream/README.md.
#pragma once
#include <coroutine>

#include "engine/stream/stream_core.h"

namespace ferry {

class next_operation : private timer_entry {
 public:
  next_operation(std::shared_ptr<stream_core> stream, std::chrono::nanoseconds idle) noexcept
      : stream_(std::move(stream)), idle_(idle) {}
  virtual ~next_operation();

  bool await_ready() {
    outcome_ = stream_ ? stream_->try_next() : stream_core::next_result(std::nullopt);
    return outcome_.has_value();
  }
  bool await_suspend(std::coroutine_handle<> waiting);
  stream_core::next_result await_resume() {
    if (!outcome_) outcome_ = stream_->try_next();
    FERRY_CHECK(outcome_.has_value());
    return std::move(*outcome_);
  }

 private:
  void on_due(stream_inbox::clock::time_point now) override;
  void resume();

  std::shared_ptr<stream_core> stream_;
  std::chrono::nanoseconds idle_;
  stream_inbox::clock::time_point began_{};
  std::optional<stream_core::next_result> outcome_;
  std::coroutine_handle<> waiting_;  // null: not suspended
  bool* gone_ = nullptr;             // to be told when this is destroyed
};

class send_operation final : private timer_entry {
 public:
  // What `what` refers to outlives the operation.
  send_operation(std::shared_ptr<stream_core> stream, stream_core::outgoing what,
                 std::chrono::nanoseconds idle) noexcept
      : stream_(std::move(stream)), what_(what), idle_(idle) {}
  ~send_operation();

  bool await_ready() { return attempt(); }
  bool await_suspend(std::coroutine_handle<> waiting);
  result<void, call_error> await_resume() { return std::move(*outcome_); }

 private:
  bool attempt();  // true: sent, or never will be
  bool wait();     // false: no need to
  void stop_waiting();
  void on_due(stream_inbox::clock::time_point now) override;
  void resume();

  std::shared_ptr<stream_core> stream_;
  stream_core::outgoing what_;
  std::chrono::nanoseconds idle_;
  stream_inbox::clock::time_point began_{};
  std::optional<result<void, call_error>> outcome_;
  std::coroutine_handle<> waiting_;
  bool* gone_ = nullptr;  // to be told when this is destroyed
};

}  // namespace ferry
