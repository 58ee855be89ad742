// The host's side of a session: borrows memory, calls functions, gets answers and streams.
//
// Calling   by bytes: call(function, bytes); by name: invoke<int>("add", 1, 2); by descriptor:
//           call(add, 1, 2) (engine/method.h). Each in three forms: call blocks, call_async runs a
//           callback, call_task is awaited. All three are one call beneath.
// Threads   call, call_async, loan, function, ping and close: any thread. Whoever waits for an
//           answer drives the loop, also for the others; callbacks and coroutines run on the thread
//           that drives. run_once: any one thread at a time is useful. No thread is started.
// Lifetime  bodies, loans and streams may outlive the client. Destroying it ends every call first:
//           callbacks run with `closed`, tasks that wait are resumed with it. Also from inside a
//           callback of its own, or by a coroutine that owns it, unless another thread is in one
//           of its functions, or this one in another than run_once and run.
// Deadline  of a call: from its start to its answer, whatever happens between. Three states: unset
//           means the client's, a value, or max(): none. The worker is told what is left.
// Cancel    by call_options::stop, from any thread; by destroying a task that waits, or a stream.
//           The caller is done at once, the function's stop token fires.
// Errors    every call has exactly one outcome. unavailable (3001): the worker died or broke the
//           protocol. timeout (2001). cancelled (2002). overloaded (3002): no room and not told to
//           wait. Codes of the function itself pass through. `maybe_executed` says whether a retry
//           could run it twice.
// Throwing  not from a callback: what it throws ends the process (std::terminate), where it is
//           thrown. It may run inside a blocking call of another part of the program, which could
//           not handle it. What leaves a coroutine is thrown where that is awaited.
// Fork      a forked child must not use its parent's client; there every call fails with
//           `not_supported`, and destroying it leaves the parent's session alone.
// Source    engine/README.md, "Calls".
#pragma once
#include <chrono>
#include <optional>
#include <stop_token>
#include <string_view>

#include "engine/body.h"
#include "engine/client/completion.h"
#include "engine/codec/travel.h"
#include "engine/coro/task.h"
#include "engine/holdings.h"
#include "engine/loop/loop.h"
#include "engine/method.h"
#include "engine/session/options.h"
#include "engine/stream/stream.h"
#include "shm/strong_id.h"
#include "shm/unique_fd.h"

namespace ferry {

using function_id = strong_id<struct function_id_tag, std::uint32_t>;  // from client::function

struct client_options {
  session_options session;
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);      // of a call that names none
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(3);  // of a stream that names none
  std::uint32_t max_calls = 1024;                                   // in flight at once
  std::optional<ferry::loop> loop;  // that drives it, with others; unset: one of its own
};

// Names a stop token or source that lives until the call has begun (for a task: until it is made).
// Not a std::stop_token itself: g++ 12 destroys aggregates that are made inside a co_await
// expression once too often, so that options must have nothing to destroy.
class stop_ref {
 public:
  constexpr stop_ref() = default;
  stop_ref(const std::stop_token& token) noexcept : token_(&token) {}
  stop_ref(const std::stop_source& source) noexcept : source_(&source) {}
  stop_ref(const std::stop_token&&) = delete;
  stop_ref(const std::stop_source&&) = delete;
  std::stop_token token() const noexcept {
    return token_ != nullptr    ? *token_
           : source_ != nullptr ? source_->get_token()
                                : std::stop_token();
  }
  bool stop_possible() const noexcept { return token_ != nullptr || source_ != nullptr; }
  bool stop_requested() const noexcept { return stop_possible() && token().stop_requested(); }

 private:
  const std::stop_token* token_ = nullptr;
  const std::stop_source* source_ = nullptr;
};

struct call_options {
  // Unset: the client's for calls, none for streams; max(): none.
  std::optional<std::chrono::nanoseconds> timeout = {};
  // Of streams: the longest wait for one item. Unset: the client's; max(): none.
  std::optional<std::chrono::nanoseconds> idle_timeout = {};
  stop_ref stop = {};  // cancels when it is requested: a token or a source
  // When a ring or the call table is full, or what the worker holds uses up the memory for bodies:
  // waits for room, within the deadline. A blocking call and call_async drive the loop meanwhile; a
  // task is suspended, and tasks get room in the order in which they came. False: `overloaded` at
  // once, as always for call_async and streams that begin inside a callback, which cannot wait.
  bool wait_for_room = true;
  stream_window window = {};  // how far the worker may send ahead of us
  // How many items we want to send ahead of the function at most; 0: what it allows.
  std::uint16_t send_window = 0;
};

static_assert(std::is_trivially_destructible_v<call_options>);  // see stop_ref

// What runs when a call has ended.
template <class F>
concept call_completion = requires(std::decay_t<F>& done, call_result&& answer) {
  done(std::move(answer));
};

struct client_stats {
  std::uint32_t calls_in_flight;
  std::uint32_t streams_open;
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

  // --- bytes ------------------------------------------------------------------------------------
  // Calls and waits. The view that is returned gives its memory back when it goes.
  call_result call(function_id function, std::span<const std::byte> argument,
                   call_options options = {});
  call_result call(function_id function, ferry::loan argument, call_options options = {});
  call_result call(std::string_view function, std::span<const std::byte> argument,
                   call_options options = {});
  call_result call(std::string_view function, ferry::loan argument, call_options options = {});
  call_result call(std::string_view function) {
    return call(function, std::span<const std::byte>());
  }

  // Starts a call; `done(call_result&&)` runs once, later, from whoever drives the session: never
  // from inside this function, though callbacks of other calls may run there while it waits for
  // room. An error here means that it was not started and `done` never runs.
  template <std::same_as<function_id> Id, call_completion F>
  result<void, call_error> call_async(Id function, std::span<const std::byte> argument, F&& done,
                                      call_options options = {}) {
    return start(function, argument, nullptr, 0, wrap(std::forward<F>(done)), options);
  }
  template <std::same_as<function_id> Id, call_completion F>
  result<void, call_error> call_async(Id function, ferry::loan argument, F&& done,
                                      call_options options = {}) {
    return start(function, {}, &argument, 0, wrap(std::forward<F>(done)), options);
  }

  // To be awaited on the thread that drives; starts then, and `argument` must live until it has.
  task<call_result> call_task(function_id function, std::span<const std::byte> argument,
                              call_options options = {});
  task<call_result> call_task(function_id function, ferry::loan argument,
                              call_options options = {});

  // --- values, by name --------------------------------------------------------------------------
  // host.invoke<int>("add", 1, 2). Arguments and result travel as MessagePack. A result that does
  // not decode is `internal` (3000).
  template <class R, class... Args>
  result<R, call_error> invoke(std::string_view function, const Args&... args) {
    const auto id = this->function(function);
    if (!id) return id.error();
    return invoke<R>(*id, args...);
  }
  template <class R, class... Args>
  result<R, call_error> invoke(function_id function, const Args&... args);

  // --- values, by descriptor --------------------------------------------------------------------
  // Raw types (engine/codec/travel.h) travel without MessagePack. An error of the function's own
  // type comes back as `detail`.
  template <class S, class E, class... Args>
  method_result<method<S, E>> call(const method<S, E>& to, Args&&... args) {
    return call(to, call_options(), std::forward<Args>(args)...);
  }
  template <class S, class E, class... Args>
  method_result<method<S, E>> call(const method<S, E>& to, call_options options, Args&&... args);
  // `done(method_result<M>&&)`, as above.
  template <class S, class E, class F, class... Args>
  result<void, call_error> call_async(const method<S, E>& to, F&& done, Args&&... args) {
    return call_async(to, call_options(), std::forward<F>(done), std::forward<Args>(args)...);
  }
  template <class S, class E, class F, class... Args>
  result<void, call_error> call_async(const method<S, E>& to, call_options options, F&& done,
                                      Args&&... args);
  // The arguments are moved or copied into the task.
  template <class S, class E, class... Args>
  task<method_result<method<S, E>>> call_task(const method<S, E>& to, Args&&... args) {
    return call_task(to, call_options(), std::forward<Args>(args)...);
  }
  template <class S, class E, class... Args>
  task<method_result<method<S, E>>> call_task(const method<S, E>& to, call_options options,
                                              Args&&... args);

  // --- streams ----------------------------------------------------------------------------------
  // A stream that could not be opened says so at its first item. Streams of `body` are raw.
  template <class Item, class E, class... P, class... Args>
  stream<Item, E> server_stream(const method<streamed<Item>(P...), E>& to, Args&&... args) {
    return server_stream(to, call_options(), std::forward<Args>(args)...);
  }
  template <class Item, class E, class... P, class... Args>
  stream<Item, E> server_stream(const method<streamed<Item>(P...), E>& to, call_options options,
                                Args&&... args);
  template <class R, class Item, class E>
  ferry::upload<Item, value_or_nothing<R>, E> upload(const method<R(streamed<Item>), E>& to,
                                                     call_options options = {});
  template <class Out, class In, class E>
  bidi<In, Out, E> open(const method<streamed<Out>(streamed<In>), E>& to,
                        call_options options = {});

  // The same for functions of bytes that are known by number or name only.
  stream<body> server_stream(std::string_view function, std::span<const std::byte> argument,
                             call_options options = {});
  ferry::upload<body, body> upload(std::string_view function, call_options options = {});
  bidi<body, body> open(std::string_view function, call_options options = {});

  // --- the session ------------------------------------------------------------------------------
  // Reads what has come and runs callbacks; waits up to `timeout` for the first of it (0: never
  // blocks; max(): no limit). Returns how many calls ended: 0 also when only items of streams came.
  // unavailable/closed: the session is over, once the calls that it ended were counted: a host that
  // polls asks connected() too.
  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout = {});
  // A descriptor that becomes readable when run_once has something to do: one entry in any poll
  // loop. Call run_once(0) after it did, and once before the first poll.
  int fd();
  // Awaits `work` from ordinary code: drives the loop until it is done.
  template <class T>
  T run(task<T> work);

  // How long the worker's serving thread takes to answer, whatever its functions do.
  result<std::chrono::nanoseconds, call_error> ping(call_options options = {});
  // Ends the session: calls in flight end as `closed`. Idempotent; the destructor does it too.
  void close() noexcept;
  bool connected() const noexcept;
  std::uint32_t worker_pid() const noexcept;  // as the worker says
  client_stats stats() const;
  session_holdings holdings() const;  // a look at each call and body: for people, not for loops
  const char* reactor_name() const noexcept;  // "io_uring" or "epoll"
  void trim();               // gives unused body memory back now instead of after its idle time
  ferry::loop loop() const;  // that drives it: for posts, timers and other sources

 private:
  class impl;
  class waiting;
  class operation;
  class binding;
  explicit client(std::shared_ptr<impl> state) noexcept;
  result<void, call_error> start(function_id, std::span<const std::byte>, ferry::loan*,
                                 std::uint8_t flags, completion&&, const call_options&);
  call_result call_filled(function_id, std::span<const std::byte>, ferry::loan*, std::uint8_t flags,
                          const call_options&);
  // What waiting for room took is gone from options.timeout afterwards; if there was none it is set
  // to what the client's own leaves, or with `no_deadline`, for streams, stays none.
  static constexpr bool no_deadline = true;
  result<function_id, call_error> bind(const method_key& method, call_options& options,
                                       bool without_deadline = false);
  // For coroutines: the number, if it is known or there is room to tell the worker; else to wait.
  static std::optional<result<function_id, call_error>> try_bind_in(impl& of,
                                                                    const method_key& method);
  static task<result<function_id, call_error>> await_bind(std::shared_ptr<impl> self,
                                                          const method_key& method,
                                                          call_options& options,
                                                          const std::stop_token& stop);
  static task<call_result> await_call(std::shared_ptr<impl> self, function_id function,
                                      std::span<const std::byte> bytes, ferry::loan* filled,
                                      std::uint8_t flags, call_options options,
                                      std::stop_token stop);
  template <class M, class... Args>
  static task<method_result<M>> await_method(std::shared_ptr<impl> self, const M& to,
                                             call_options options, std::stop_token stop,
                                             Args... args);
  std::shared_ptr<stream_core> open_stream(const result<function_id, call_error>& function,
                                           std::span<const std::byte> bytes, ferry::loan* filled,
                                           std::uint8_t flags, const call_options& options);
  std::chrono::nanoseconds idle(const call_options& options) const;
  std::chrono::nanoseconds answer_time(const call_options& options) const;

  template <class F>
  static completion wrap(F&& done) {
    return completion([done = std::forward<F>(done)](const record_fields*, body&& content,
                                                     call_error* why) mutable {
      done(why != nullptr ? call_result(std::move(*why)) : call_result(std::move(content)));
    });
  }

  std::shared_ptr<impl> impl_;  // shared with its streams
};

}  // namespace ferry

#include "engine/client/client_typed.h"  // the bodies of the templates
