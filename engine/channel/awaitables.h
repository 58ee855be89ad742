// The awaitable form of a channel's operations. Included by channel.h.
// Threads   as channel.h: the coroutine runs on the thread that drives.
// Lifetime  a coroutine that is destroyed while it waits calls its operation off: a message goes
//           to the next who receives, a request is given up and the peer told, what waits for room
//           is not sent. Destroyed on the thread that drives, or by another that knows it is not
//           just being resumed; that one waits for the wheel.
// Source    engine/channel/README.md, "Requests".
#pragma once
#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "engine/channel/channel.h"
#include "shm/birthplace.h"

namespace ferry {

namespace detail {

// What an awaiter shares with its callback: either may go first.
template <class Outcome>
struct awaited {
  std::coroutine_handle<> waiting;
  std::uint64_t ticket = 0;
  std::optional<Outcome> outcome;
  birthplace made_in;  // in a forked child the channel may have gone without a word
};

template <class Outcome>
class channel_awaiter {
 public:
  channel_awaiter(const channel_awaiter&) = delete;
  channel_awaiter& operator=(const channel_awaiter&) = delete;
  bool await_ready() const noexcept { return false; }
  Outcome await_resume() { return std::move(*shared_->outcome); }

 protected:
  channel_awaiter() = default;
  ~channel_awaiter() = default;
  // In the destructor: the ticket of what nobody waits for any more.
  std::optional<std::uint64_t> abandon() noexcept {
    if (!shared_ || !std::exchange(shared_->waiting, nullptr)) return std::nullopt;
    if (shared_->made_in.left()) return std::nullopt;
    return shared_->ticket;
  }
  // `start` gets the callback and returns a ticket if the operation began. False: do not suspend.
  template <class Start>
  bool suspend(std::coroutine_handle<> waiting, Start&& start) {
    auto shared = std::make_shared<awaited<Outcome>>();
    shared->waiting = waiting;
    shared_ = shared;
    auto began = start([shared](Outcome&& outcome) {
      if (!shared->waiting) return;
      shared->outcome.emplace(std::move(outcome));
      std::exchange(shared->waiting, nullptr).resume();
    });
    // Of a coroutine that began it may be another thread's by now: nothing of ours is touched.
    if (began) {
      shared->ticket = *began;
      return true;
    }
    shared->waiting = nullptr;
    shared->outcome.emplace(began.error());
    return false;
  }

 private:
  std::shared_ptr<awaited<Outcome>> shared_;
};

}  // namespace detail

class channel::sending : public detail::channel_awaiter<send_result> {
 public:
  sending(channel& over, message what) : over_(over), what_(std::move(what)) {}
  ~sending() {
    if (const auto ticket = abandon()) over_.call_off(operation::send, *ticket);
  }
  bool await_suspend(std::coroutine_handle<> waiting) {
    return suspend(
        waiting, [this](auto done) { return over_.begin_send(std::move(what_), std::move(done)); });
  }

 private:
  channel& over_;
  message what_;
};

class channel::receiving : public detail::channel_awaiter<message_result> {
 public:
  explicit receiving(channel& over) : over_(over) {}
  ~receiving() {
    if (const auto ticket = abandon()) over_.call_off(operation::receive, *ticket);
  }
  bool await_ready() {  // what is there does not suspend
    ready_ = over_.try_receive();
    return ready_.has_value();
  }
  message_result await_resume() {
    return ready_ ? std::move(*ready_) : channel_awaiter::await_resume();
  }
  bool await_suspend(std::coroutine_handle<> waiting) {
    return suspend(waiting, [this](auto done) { return over_.begin_receive(std::move(done)); });
  }

 private:
  channel& over_;
  std::optional<message_result> ready_;
};

class channel::asking : public detail::channel_awaiter<message_result> {
 public:
  asking(channel& over, message what, std::chrono::nanoseconds timeout)
      : over_(over), what_(std::move(what)), timeout_(timeout) {}
  ~asking() {
    if (const auto ticket = abandon()) over_.call_off(operation::request, *ticket);
  }
  bool await_suspend(std::coroutine_handle<> waiting) {
    return suspend(waiting, [this](auto done) {
      return over_.begin_request(std::move(what_), timeout_, std::move(done));
    });
  }

 private:
  channel& over_;
  message what_;
  std::chrono::nanoseconds timeout_;
};

inline channel::sending channel::co_send(message what) { return {*this, std::move(what)}; }
inline channel::receiving channel::co_receive() { return receiving(*this); }
inline channel::asking channel::co_request(message what, std::chrono::nanoseconds timeout) {
  return {*this, std::move(what), timeout};
}

}  // namespace ferry
