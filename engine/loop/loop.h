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
// Lifetime  a handle: copies are the same loop. Clients and channels keep it alive.
// Errors    create: limit, refused, not_supported as reactor.h. run_once: invalid_request inside a
//           callback; system when the kernel refuses to wait.
// Source    engine/loop/README.md.
#pragma once
#include <chrono>
#include <memory>
#include <stop_token>

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
  const char* reactor_name() const noexcept;  // "io_uring" or "epoll"

  const std::shared_ptr<loop_core>& core() const noexcept { return core_; }

 private:
  explicit loop(std::shared_ptr<loop_core> core) noexcept : core_(std::move(core)) {}
  std::shared_ptr<loop_core> core_;
};

}  // namespace ferry
