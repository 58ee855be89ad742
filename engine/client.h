// The host's side of a session: borrows memory, calls functions, gets answers.
// Threads   call, call_async, loan, function and close: any thread. Whoever waits for an answer
//           drives the session, also for the others; a callback runs on the thread that drives.
//           run_once: any one thread at a time is useful. No thread is started.
// Lifetime  bodies and loans may outlive the client. Destroying it ends every call first: callbacks
//           run with `closed`.
// Errors    every call has exactly one outcome. unavailable (3001): the worker died or broke the
//           protocol. timeout (2001). overloaded (3002): no room and not told to wait. Codes of the
//           function itself pass through. `maybe_executed` says whether a retry could run it twice.
// Source    engine/README.md, "Calls".
#pragma once
#include <chrono>
#include <optional>
#include <string_view>

#include "engine/body.h"
#include "engine/codec/typed.h"
#include "engine/completion.h"
#include "engine/loop/loop.h"
#include "engine/session/options.h"
#include "shm/strong_id.h"
#include "shm/unique_fd.h"

namespace ferry {

using function_id = strong_id<struct function_id_tag, std::uint32_t>;  // from client::function

struct client_options {
  session_options session;
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);  // of a call that names none
  std::uint32_t max_calls = 1024;                               // in flight at once
  std::optional<ferry::loop> loop;  // that drives it, with others; unset: one of its own
};

struct call_options {
  std::optional<std::chrono::nanoseconds> timeout;  // unset: the client's; max(): none
  bool wait_for_room = true;  // false: `overloaded` at once when a ring or the call table is full
};

struct client_stats {
  std::uint32_t calls_in_flight;
  std::uint64_t bodies_lent;  // that the worker holds
  std::uint64_t bytes_lent;
  std::uint64_t arena_bytes;    // reserved for bodies
  std::uint64_t stale_answers;  // to calls that had ended already
};

class client {
 public:
  // Takes the socket of a session whose other end a worker has; blocks for the handshake.
  static result<client, call_error> attach(unique_fd socket, client_options options = {});
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;
  ~client();

  // The number of a function, asked of the worker once and remembered.
  result<function_id, call_error> function(std::string_view name, call_options options = {});

  // Memory for an argument, to be filled in place and handed to call().
  result<ferry::loan> loan(std::uint64_t size_bytes);

  // Calls and waits. The view that is returned gives its memory back when it goes.
  call_result call(function_id function, std::span<const std::byte> argument,
                   call_options options = {});
  call_result call(function_id function, ferry::loan argument, call_options options = {});
  call_result call(std::string_view function, std::span<const std::byte> argument,
                   call_options options = {});
  call_result call(std::string_view function, ferry::loan argument, call_options options = {});

  // Starts a call; `done(call_result&&)` runs once, later, from whoever drives the session (never
  // from inside this function). An error here means that it was not started and `done` never runs.
  template <class F>
  result<void, call_error> call_async(function_id function, std::span<const std::byte> argument,
                                      F&& done, call_options options = {}) {
    return start(function, argument, wrap(std::forward<F>(done)), options);
  }
  template <class F>
  result<void, call_error> call_async(function_id function, ferry::loan argument, F&& done,
                                      call_options options = {}) {
    return start(function, std::move(argument), wrap(std::forward<F>(done)), options);
  }

  // Typed: host.invoke<int>("add", 1, 2). Arguments and result travel as MessagePack. A result that
  // does not decode is `internal` (3000).
  template <class R, class... Args>
  result<R, call_error> invoke(std::string_view function, const Args&... args) {
    const auto id = this->function(function);
    if (!id) return id.error();
    return invoke<R>(*id, args...);
  }
  template <class R, class... Args>
  result<R, call_error> invoke(function_id function, const Args&... args);

  // Reads what has come and runs callbacks; waits up to `timeout` for the first of it (0: never
  // blocks; max(): no limit). Returns how many calls ended. unavailable/closed: the session is
  // over.
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout = {});
  // A descriptor that becomes readable when run_once has something to do: one entry in any poll
  // loop. Call run_once(0) after it did, and once before the first poll.
  int fd();

  // Ends the session: calls in flight end as `closed`. Idempotent; the destructor does it too.
  void close() noexcept;
  bool connected() const noexcept;
  std::uint32_t worker_pid() const noexcept;  // as the worker says
  client_stats stats() const;
  const char* reactor_name() const noexcept;  // "io_uring" or "epoll"
  void trim();  // gives unused body memory back now instead of after its idle time

 private:
  class impl;
  explicit client(std::shared_ptr<impl> state) noexcept;
  result<void, call_error> start(function_id, std::span<const std::byte>, completion, call_options);
  result<void, call_error> start(function_id, ferry::loan, completion, call_options);

  template <class F>
  static completion wrap(F&& done) {
    return completion([done = std::forward<F>(done)](const record_fields*, body&& content,
                                                     call_error* why) mutable {
      done(why != nullptr ? call_result(std::move(*why)) : call_result(std::move(content)));
    });
  }

  std::shared_ptr<impl> impl_;  // shared with its streams
};

template <class R, class... Args>
result<R, call_error> client::invoke(function_id function, const Args&... args) {
  static_assert(!std::is_same_v<R, std::string_view>, "a view would outlive the answer it lies in");
  std::byte small[256];
  value_writer writer(small);
  encode_args(writer, args...);
  auto answer = call(function, writer.bytes());
  if (!answer) return std::move(answer).error();
  if constexpr (std::is_void_v<R>) {
    return {};
  } else {
    auto value = decode<R>(answer->bytes());
    if (!value) {
      return call_error{errc::internal,
                        std::string("the result does not decode: ") + value.error().message(),
                        true};
    }
    return std::move(*value);
  }
}

}  // namespace ferry
