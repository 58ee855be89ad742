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
  const std::stop_callback wake(stop, [core = core_] { core->post([] {}); });
  // Another thread that drives may have run the post.
  const condition stopped{
      [](void* token) { return static_cast<std::stop_token*>(token)->stop_requested(); }, &stop};
  while (!stop.stop_requested()) {
    auto ran = core_->run_once(std::chrono::nanoseconds::max(), stopped);
    if (!ran) return ran.error();
  }
  return {};
}

spawned loop::start_here(task<> work) {
  const wheel_guard wheel(*core_);
  return ferry::start(std::move(work));
}

result<void> loop::may_run() const {
  if (core_->forked()) return loop_core::not_ours();
  return {};
}

result<void> loop::drive_until_done(const spawned& running) {
  FERRY_CHECK(!core_->mine());  // a callback must not wait
  // Another thread that drives may have resumed it last.
  const condition ended{[](void* task) { return static_cast<const spawned*>(task)->done(); },
                        const_cast<spawned*>(&running)};
  while (!running.done()) {
    auto ran = core_->run_once(std::chrono::nanoseconds::max(), ended);
    if (!ran) return ran.error();
  }
  return {};
}

// What has not ended is cancelled; another thread may be driving it.
void loop::cancel_here(spawned& running) {
  if (running.done()) return;
  const wheel_guard wheel(*core_);
  running = {};
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
  core_->timers().arm(*this, clock::now() + time_);
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
