// One call, as its function sees it: who calls, how long there is, and the ways to answer.
// Threads   context: the thread that runs the function. responder: any thread, one at a time.
// Lifetime  a context ends with its function, a coroutine's with the coroutine; a responder lives
//           until it has answered, also after the session ended (then its answer goes nowhere).
// Errors    reply and fail give invalid_request for a second answer, closed when the caller is gone
//           or gave up, and whatever borrow gives. A call that is never answered is answered for
//           you: 2000 when its function returns, or when its responder goes.
// Source    worker/README.md.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string_view>

#include "engine/codec/travel.h"
#include "engine/coro/task.h"
#include "engine/stream/stream.h"
#include "shm/result.h"

namespace ferry {

class call_state;
class context;
class worker_link;
struct handler;

// The right, and the duty, to answer one call exactly once.
class responder {
 public:
  responder() = default;
  explicit responder(std::shared_ptr<call_state> call) noexcept : state_(std::move(call)) {}
  responder(responder&&) noexcept = default;
  responder& operator=(responder&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~responder();

  // Memory for an answer, to be filled in place.
  result<loan> borrow(std::uint64_t size_bytes);
  result<void> reply(std::span<const std::byte> answer);  // copies
  result<void> reply(std::string_view answer);            // copies
  result<void> reply(loan answer);                        // hands over
  result<void> fail(errc code, std::string_view text);    // codes: see shm/error.h
  // With an error of the function's own type, which reaches a caller that knows it.
  template <class E>
  result<void> fail_with(errc code, std::string_view text, const E& detail) {
    std::byte small[256];
    value_writer writer(small);
    encode(writer, detail);
    return fail_encoded(code, text, writer.bytes());
  }
  bool answered() const noexcept;
  // Fires when the caller gives up or is gone, and at the deadline.
  std::stop_token stop_token() const;

 private:
  result<void> fail_encoded(errc code, std::string_view text, std::span<const std::byte> detail);
  std::shared_ptr<call_state> state_;  // null: never had a call
};

namespace detail {
void start_coroutine(context& call, task<> work);
}

class context {
 public:
  context(const std::shared_ptr<worker_link>& link, std::uint64_t call, std::string_view function,
          std::uint64_t left_ns) noexcept;
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  std::string_view function() const noexcept { return function_; }
  std::uint32_t peer_pid() const noexcept;  // as the caller says
  // When the caller gives up, to within a scheduler tick (up to 10 ms early); nullopt: never.
  std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept;

  // Fires when the caller gives up or is gone, and at the deadline. While a plain function runs on
  // the thread that serves, nobody can hear the caller: there it only fires in stop_requested().
  std::stop_token stop_token();
  // Whether it is time to stop. Cheap enough for a loop; on the thread that serves it listens to
  // the caller now and then.
  bool stop_requested();

  result<loan> borrow(std::uint64_t size_bytes);
  result<void> reply(std::span<const std::byte> answer);
  result<void> reply(std::string_view answer);
  result<void> reply(loan answer);
  template <class T>
  result<void> reply_value(const T& value) {  // as a typed function's result
    std::byte small[512];
    value_writer writer(small);
    encode(writer, value);
    return reply(writer.bytes());
  }
  result<void> fail(errc code, std::string_view text);
  result<void> fail(const call_error& why);  // of a call further on: with its detail
  // Nothing was done: the caller may try again without doing it twice.
  result<void> reject(errc code, std::string_view text);
  // With an error of the function's own type, which reaches a caller that knows it.
  template <class E>
  result<void> fail_with(errc code, std::string_view text, const E& detail) {
    std::byte small[256];
    value_writer writer(small);
    encode(writer, detail);
    return fail_encoded(code, text, writer.bytes());
  }
  bool answered() const noexcept;
  bool deferred() const noexcept { return deferred_; }
  // The caller sent bytes as they are, not values.
  bool raw_argument() const noexcept { return raw_argument_; }

  // Tells the reader of the stream that work goes on: its idle clock starts again.
  void progress();
  // An error in place of one item of the output; the stream goes on. Blocks for room: a coroutine
  // awaits send_error() of its sink instead.
  result<void> send_error(errc code, std::string_view text);
  // Items to and from the caller, of functions that stream. `body` and spans are raw.
  template <class T>
  sink<T> output() {
    return sink<T>(stream_core_of(), stream_core::no_limit);
  }
  template <class T>
  stream<T> input() {
    return stream<T>(stream_core_of(), stream_core::no_limit, errc::invalid_params);
  }

  // Takes the answer along, to give it later and out of order, from any thread.
  responder defer();

 private:
  friend class call_state;
  friend class worker_link;
  friend void detail::start_coroutine(context& call, task<> work);
  result<void> fail_encoded(errc code, std::string_view text, std::span<const std::byte> detail,
                            bool begun = true);
  std::shared_ptr<stream_core> stream_core_of();
  call_state& state();  // made when it is first needed

  const std::shared_ptr<worker_link>* link_;  // the link's own, or the state's: outlives the call
  std::uint64_t call_;                        // 0: answered, deferred, or the state's business
  std::string_view function_;
  std::uint64_t left_ns_;
  std::chrono::steady_clock::time_point began_;
  call_state* state_ = nullptr;       // of a call that is more than a function that returns
  std::shared_ptr<call_state> made_;  // the same, if it was made here; else it owns us
  bool deferred_ = false;
  bool raw_argument_ = false;
  const handler* handler_ = nullptr;                  // of a call without a state yet
  std::chrono::steady_clock::time_point listened_{};  // by stop_requested()
};

}  // namespace ferry
