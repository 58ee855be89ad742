// The SDK of a function's author: register functions, serve the parent that started this process.
//
//   ferry::worker w;
//   w.function("add", [](int a, int b) { return a + b; });
//   w.function("count", [](int to, ferry::sink<int>& out) {           // answers with a stream
//     for (int i = 0; i < to; ++i) if (!out.write(i)) return;
//   });
//   w.function("slow", resize, {.concurrency = 4});                   // on threads of its own
//   w.raw("echo", [](ferry::context& call, ferry::body b) { call.reply(b.bytes()); });
//   return w.main();
//
// Threads   plain functions and coroutines run on the thread that serves; plain functions that
//           stream or have a concurrency of their own on threads of their own, several at once.
//           Registering: any thread, at any time; a name that is taken gets the new function, calls
//           that run keep theirs. Functions are copied, so what they capture must be.
// Lifetime  the worker outlives run(); responders may outlive it. The destructor tells functions
//           that still run to stop, and waits for those on threads.
// Errors    an exception in a function is answered with 2003 and its text; the worker goes on. A
//           typed function whose arguments do not decode answers 1001; an unknown one 1002; one
//           whose limits are reached 3002.
// Source    worker/README.md.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "engine/holdings.h"
#include "engine/loop/loop.h"
#include "engine/session/options.h"
#include "shm/unique_fd.h"
#include "worker/typed.h"

namespace ferry {

// Names the descriptor of the session's socket that a parent hands to the worker it starts.
inline constexpr const char* socket_variable = "FERRY_SOCKET_FD";

struct worker_options : session_options {
  worker_options() = default;
  worker_options(session_options session) : session_options(std::move(session)) {}
  std::uint32_t max_calls = 65536;  // of one host at once, of those that do not end on the spot
  std::optional<ferry::loop> loop;  // that serves, with others; unset: one of its own
};

// What one host has this worker hold.
struct host_holdings : session_holdings {
  std::uint32_t pid = 0;  // as the host says
};

class worker {
 public:
  explicit worker(worker_options options = {});
  ~worker();
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  // A function of bytes. A name is not empty (CHECK).
  worker& raw(std::string name, raw_function function, function_options options = {}) {
    return raw(std::move(name), method_kind::unary, std::move(function), options);
  }
  // One that streams bytes, by context::input and output.
  worker& raw(std::string name, method_kind kind, raw_function function,
              function_options options = {});

  // A function of C++ values, e.g. int(int, int), or a coroutine. What its parameters and results
  // may be: worker/typed.h. It may return result<T, E>; its error is the answer.
  template <class F>
  worker& function(std::string name, F function, function_options options = {}) {
    return add(detail::make_handler(std::move(name), std::move(function), options));
  }
  // The same, checked against a descriptor: kind, arguments, items, result and error.
  template <class S, class E, class F>
  worker& function(const method<S, E>& as, F function, function_options options = {}) {
    using shape = detail::callable<F>;
    using M = method<S, E>;
    static_assert(shape::kind == M::kind, "the function streams otherwise than the method says");
    static_assert(std::is_same_v<typename shape::values,
                                 typename codec::decoded_args<typename M::args>::type>,
                  "the function takes other values than the method says");
    static_assert(detail::answers_as<typename shape::answer, typename M::result_type>,
                  "the function answers with another type than the method says");
    static_assert(detail::answers_as<typename shape::sent_item, typename M::item>,
                  "the function sends items of another type than the method says");
    static_assert(detail::answers_as<typename shape::taken_item, typename M::request_item>,
                  "the function takes items of another type than the method says");
    static_assert(detail::fails_as<typename shape::failure, E>,
                  "the function fails with another type than the method says");
    return add(detail::make_handler(std::string(as.name()), std::move(function), options));
  }

  // Serves the parent until it closes the session (success) or dies (unavailable).
  // not_supported: no parent left a socket in FERRY_SOCKET_FD.
  result<void, call_error> run();
  // The same for a program's main: says on stderr what went wrong; returns 0 or 1.
  int main() noexcept;

  // For a loop of your own: open, then run_once whenever fd() is readable or after `timeout`. A
  // worker may serve several hosts: open one socket after another. run_once ends with the last.
  result<void, call_error> open(unique_fd socket);
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout = {});
  int fd();  // once a session is open (CHECK)
  const char* reactor_name() const noexcept;
  // Of each host: the calls that have begun or wait, but not one that ends on the spot, and the
  // bodies that were not given back. Any thread, once a session is open; waits for a plain function
  // that runs just now.
  std::vector<host_holdings> holdings();
  ferry::loop loop();  // that serves: for posts and timers, e.g. co_await w.loop().sleep_for(1s)

 private:
  worker& add(handler made);

  class impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ferry
