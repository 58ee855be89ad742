#include "engine/loop/loop.h"

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
  while (!stop.stop_requested()) {
    if (auto ran = core_->run_once(std::chrono::nanoseconds::max()); !ran) return ran.error();
  }
  return {};
}

int loop::fd() { return core_->fd(); }
loop::clock::time_point loop::next_deadline() {
  const wheel_guard wheel(*core_);
  return core_->next_due();
}
void loop::post(unique_function<void()> job) { core_->post(std::move(job)); }
const char* loop::reactor_name() const noexcept { return core_->reactor_name(); }

}  // namespace ferry
