// The SDK of a function's author: register functions, serve the parent that started this process.
//
//   ferry::worker w;
//   w.function("add", [](int a, int b) { return a + b; });
//   w.raw("echo", [](ferry::context& call, ferry::body argument) { call.reply(argument.bytes());
//   }); return w.main();
//
// Threads   one: functions run one after another on the thread that serves. Register before that.
// Lifetime  the worker outlives run(); responders may outlive it.
// Errors    an exception in a function is answered with 2003 and its text; the worker goes on. A
//           typed function whose arguments do not decode answers 1001; an unknown one 1002.
// Source    worker/README.md.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/codec/typed.h"
#include "engine/session/options.h"
#include "shm/unique_fd.h"
#include "worker/context.h"
#include "worker/signature.h"

namespace ferry {

// Names the descriptor of the session's socket that a parent hands to the worker it starts.
inline constexpr const char* socket_variable = "FERRY_SOCKET_FD";

// The argument's memory goes back to the caller when the body goes: at the latest when the function
// returns. `argument = body()` before the answer lets a caller in a loop use the same memory again.
using raw_function = std::function<void(context&, body)>;

class worker {
 public:
  explicit worker(session_options options = {});
  ~worker();
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  // A function of bytes. Names are unique and not empty (CHECK).
  worker& raw(std::string name, raw_function function);

  // A function of C++ values, e.g. int(int, int). It may return result<T>; its error is the answer.
  template <class F>
  worker& function(std::string name, F function) {
    return raw(std::move(name), typed(std::move(function)));
  }

  // Serves the parent until it closes the session (success) or dies (unavailable).
  // not_supported: no parent left a socket in FERRY_SOCKET_FD.
  result<void, call_error> run();
  // The same for a program's main: says on stderr what went wrong; returns 0 or 1.
  int main() noexcept;

  // For a loop of your own: open, then run_once whenever fd() is readable or after `timeout`.
  result<void, call_error> open(unique_fd socket);
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout = {});
  int fd();
  const char* reactor_name() const noexcept;

 private:
  template <class F>
  static raw_function typed(F function);

  class impl;
  std::unique_ptr<impl> impl_;
};

// --- typed functions
// ------------------------------------------------------------------------------

namespace detail {
// Encodes a value and answers with it.
template <class T>
void answer_with(context& call, const T& value) {
  std::byte small[512];
  value_writer writer(small);
  encode(writer, value);
  // A failure to send has ended the session or the call already: there is nobody left to tell.
  (void)call.reply(writer.bytes());
}
template <class T>
struct is_result : std::false_type {};
template <class T, class E>
struct is_result<result<T, E>> : std::true_type {};

inline void answer_error(context& call, const error& why) {
  (void)call.fail(why.code, why.message());
}
inline void answer_error(context& call, const call_error& why) {
  (void)call.fail(why.code, why.text);
}
}  // namespace detail

template <class F>
raw_function worker::typed(F function) {
  using args = typename signature<F>::args;
  using returned = typename signature<F>::returned;
  return [function = std::move(function)](context& call, body argument) mutable {
    auto values = decode_args<args>(argument.bytes());
    if (!values) {
      (void)call.fail(errc::invalid_params, values.error().message());
      return;
    }
    const auto invoke = [&] { return std::apply(function, std::move(*values)); };
    if constexpr (std::is_void_v<returned>) {
      invoke();
      (void)call.reply(std::span<const std::byte>());
    } else if constexpr (detail::is_result<returned>::value) {
      auto value = invoke();
      if (!value) return detail::answer_error(call, value.error());
      if constexpr (std::is_void_v<typename returned::value_type>) {
        (void)call.reply(std::span<const std::byte>());
      } else {
        detail::answer_with(call, *value);
      }
    } else {
      detail::answer_with(call, invoke());
    }
  };
}

}  // namespace ferry
