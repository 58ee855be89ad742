// One place where a thread waits for everything: the calls of many clients, workers, channels,
// timers, and what other threads hand to it. No thread is ever started here.
//
//   auto loop = ferry::loop::create();
//   client_options options;
//   options.loop = *loop;                       // any number of clients and workers
//   while (running) loop->run_once(100ms);      // or poll loop->fd() in a loop of your own
//
// Threads   post: any thread, at any time. run_once, run and all that drives: one thread at a time;
//           others wait their turn. Callbacks and coroutines run on the thread that drives.
// Throwing  not from a callback or a posted job: what it throws ends the process (std::terminate),
//           where it is thrown. Nothing of it can reach run_once or another thread's call.
// Lifetime  a handle: copies are the same loop. Clients and channels keep it alive.
// Errors    create: limit, refused, not_supported as reactor.h. run_once: invalid_request inside a
//           callback; system when the kernel refuses to wait.
// Source    engine/loop/README.md.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>

#include "engine/coro/task.h"
#include "engine/driver.h"
#include "engine/loop/timer_queue.h"
#include "engine/reactor/reactor.h"
#include "engine/unique_function.h"

namespace ferry {

class loop_core;

struct loop_options {
  reactor_kind reactor = reactor_kind::automatic;
  // Looks for news that long before it sleeps, whatever the sessions' own policies say.
  std::chrono::nanoseconds busy_poll{0};
};

class loop {
 public:
  using clock = std::chrono::steady_clock;
  static result<loop> create(loop_options options = {});

  // Runs what there is to run; waits up to `max_wait` for the first of it (0: never blocks; max():
  // no limit). Returns how much it ran.
  result<std::size_t> run_once(std::chrono::nanoseconds max_wait = {});
  // Until stop is requested, from any thread.
  result<void> run(std::stop_token stop);
  // A descriptor that becomes readable when run_once has something to do, deadlines included: one
  // entry in any poll loop. Call run_once(0) after it did, and once before the first poll.
  int fd();
  // Nothing is due before; for hosts that poll busily and do not use fd(). max(): nothing is.
  clock::time_point next_deadline();
  // Runs `job` on the thread that drives, soon and in order.
  void post(unique_function<void()> job);
  // Awaits `work` from ordinary code: drives until it is done, whoever ends it. An exception that
  // leaves it passes. If the loop cannot run (inside a callback or a coroutine, in a forked child:
  // then `work` is not started; or when the kernel refuses to wait) a result<> says so, anything
  // else throws std::system_error.
  template <class T>
  T run(task<T> work) {
    std::optional<detail::task_value<T>> out;
    std::exception_ptr thrown;
    const auto waiting = [](task<T> inner, auto& to, auto& problem) -> task<> {
      try {
        if constexpr (std::is_void_v<T>) {
          co_await std::move(inner);
          to.emplace();
        } else {
          to.emplace(co_await std::move(inner));
        }
      } catch (...) {
        problem = std::current_exception();
      }
    };
    auto driven = may_run();
    if (driven) driven = run_to_end(waiting(std::move(work), out, thrown));
    if (!driven) {
      if constexpr (std::is_constructible_v<T, error>) {
        return T(driven.error());
      } else if constexpr (std::is_constructible_v<T, call_error>) {
        return T(call_error{driven.error().code, driven.error().message(), false});
      } else {
        throw_system_error(driven.error());
      }
    }
    if (thrown) std::rethrow_exception(thrown);
    if constexpr (!std::is_void_v<T>) return std::move(*out);
  }
  // Awaited on the thread that drives: resumes after `time`.
  class sleeping;
  sleeping sleep_for(std::chrono::nanoseconds time);
  const char* reactor_name() const noexcept;  // "io_uring" or "epoll"

  explicit loop(std::shared_ptr<loop_core> core) noexcept : core_(std::move(core)) {}
  const std::shared_ptr<loop_core>& core() const noexcept { return core_; }

 private:
  result<void> may_run() const;
  result<void> run_to_end(task<> work);
  [[noreturn]] static void throw_system_error(const error& why);
  std::shared_ptr<loop_core> core_;
};

class loop::sleeping : private timer_entry {
 public:
  sleeping(std::shared_ptr<loop_core> core, std::chrono::nanoseconds time) noexcept
      : core_(std::move(core)), time_(time) {}
  ~sleeping();
  bool await_ready() const noexcept { return time_ <= time_.zero(); }
  void await_suspend(std::coroutine_handle<> waiting);
  void await_resume() const noexcept {}

 private:
  void on_due(clock::time_point) override { waiting_.resume(); }
  std::shared_ptr<loop_core> core_;
  std::chrono::nanoseconds time_;
  std::coroutine_handle<> waiting_;
};

// A loop with a thread of its own, which runs it until the object goes: for hosts that have no loop
// and want callbacks and coroutines to run meanwhile. Signals stay with the host's threads.
class loop_thread {
 public:
  static result<loop_thread> start(loop_options options = {});
  loop_thread(loop_thread&&) noexcept = default;
  loop_thread& operator=(loop_thread&&) noexcept = default;
  ~loop_thread() = default;  // stops and joins; not from a callback

  ferry::loop& loop() noexcept { return loop_; }

 private:
  loop_thread(ferry::loop made, std::jthread thread) noexcept
      : loop_(std::move(made)), thread_(std::move(thread)) {}
  ferry::loop loop_;
  std::jthread thread_;
};

}  // namespace ferry
