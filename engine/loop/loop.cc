#include "engine/loop/loop.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>

#include "engine/loop/loop_core.h"

namespace ferry {

result<loop> loop::create(loop_options options) {
  auto core = loop_core::create(options.reactor);
  if (!core) return core.error();
  (*core)->set_busy_poll(options.busy_poll);
  return loop(std::move(*core));
}

result<std::size_t> loop::run_once(std::chrono::nanoseconds max_wait) {
  return core_->run_once(max_wait);
}

result<void> loop::run(std::stop_token stop) {
  if (auto may = may_run(); !may) return may;
  follower me;
  // Whoever drives then need not be this thread.
  const std::stop_callback ends(stop, [&me, core = core_.get()] {
    me.arrive();
    core->nudge();
  });
  while (!me.arrived()) {
    auto ran = core_->run_once(std::chrono::nanoseconds::max(), &me);
    if (!ran) return ran.error();
  }
  return {};
}

result<void> loop::may_run() const {
  if (core_->forked()) return loop_core::not_ours();
  if (core_->mine()) {
    return error{errc::invalid_request, 0,
                 "run inside a callback or a coroutine: co_await instead"};
  }
  return {};
}

result<void> loop::run_to_end(task<> work) {
  follower me;
  spawned running;
  {
    const wheel_guard wheel(*core_);  // as all that runs on the loop
    // Another thread may end it; from then on nothing of `work` is left but this bare frame.
    running = ferry::start(std::move(work), [&me] { me.arrive(); });
  }
  result<void> driven;
  while (driven && !me.arrived()) {
    if (auto ran = core_->run_once(std::chrono::nanoseconds::max(), &me); !ran) {
      driven = ran.error();
    }
  }
  if (!driven) {  // what has not ended is cancelled; another thread may be driving it
    const wheel_guard wheel(*core_);
    if (me.arrived()) driven = {};
    running = {};
  } else if (core_->try_take()) {
    running = {};
    core_->leave();
  } else {  // whoever ended it may still be about to leave its frame
    core_->post([held = std::move(running)] {});
  }
  return driven;
}

void loop::throw_system_error(const error& why) {
  throw std::system_error(why.sys_errno, std::generic_category(), why.message());
}

loop::sleeping loop::sleep_for(std::chrono::nanoseconds time) { return {core_, time}; }

loop::sleeping::~sleeping() {
  if (!armed() || core_->forked()) return;
  const wheel_guard wheel(*core_);
  core_->timers().cancel(*this);
}

void loop::sleeping::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  const wheel_guard wheel(*core_);
  const auto now = clock::now();
  const bool ends = time_ <= clock::time_point::max() - now;  // else later than time can tell
  core_->timers().arm(*this, ends ? now + time_ : clock::time_point::max());
}

result<loop_thread> loop_thread::start(loop_options options) {
  auto made = loop::create(options);
  if (!made) return made.error();
  // The host's handlers run on the host's threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::jthread thread([driven = *made](std::stop_token stop) mutable {
    ::pthread_setname_np(::pthread_self(), "ferry-loop");
    (void)driven.run(stop);
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return loop_thread(std::move(*made), std::move(thread));
}

int loop::fd() { return core_->fd(); }
loop::clock::time_point loop::next_deadline() {
  const wheel_guard wheel(*core_);
  return core_->next_due();
}
void loop::post(unique_function<void()> job) { core_->post(std::move(job)); }
const char* loop::reactor_name() const noexcept { return core_->reactor_name(); }

}  // namespace ferry
