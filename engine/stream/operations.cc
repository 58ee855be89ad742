#include "engine/stream/operations.h"

namespace ferry {

// --- next ---------------------------------------------------------------------------------------

next_operation::~next_operation() {
  if (!waiting_) return;
  if (stream_->host->loop().forked()) return;  // whoever held a lock is not here
  stream_->in.stop_waiting();
  if (armed()) {
    const wheel_guard wheel(stream_->host->loop());
    stream_->host->loop().timers().cancel(*this);
  }
}

bool next_operation::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  loop_core& loop = stream_->host->loop();
  if (idle_ != stream_core::no_limit) {
    began_ = stream_inbox::clock::now();
    const auto until = stream_->idle_until(idle_, began_);
    const wheel_guard wheel(loop);
    loop.timers().arm(*this, until.value_or(began_));
  }
  // Last: from here on the driver may resume us.
  const bool waits = stream_->in.wait(
      {nullptr, [](void* self) { static_cast<next_operation*>(self)->resume(); }, this});
  if (waits) return true;
  waiting_ = nullptr;
  if (armed()) {
    const wheel_guard wheel(loop);
    loop.timers().cancel(*this);
  }
  return false;
}

void next_operation::resume() {
  if (armed()) stream_->host->loop().timers().cancel(*this);
  std::exchange(waiting_, nullptr).resume();
}

void next_operation::on_due(stream_inbox::clock::time_point) {
  if (const auto later = stream_->idle_until(idle_, began_)) {
    return stream_->host->loop().timers().arm(*this, *later);
  }
  stream_->in.stop_waiting();
  outcome_ = stream_->end_as_idle(idle_);
  resume();
}

// --- send ---------------------------------------------------------------------------------------

send_operation::~send_operation() {
  if (!waiting_) return;
  if (stream_->host->loop().forked()) return;
  stream_->out.stop_waiting();
  stream_->host->forget_room(this);
  if (armed()) {
    const wheel_guard wheel(stream_->host->loop());
    stream_->host->loop().timers().cancel(*this);
  }
}

bool send_operation::attempt() {
  auto sent = stream_->try_write(bytes_, filled_, false);
  if (!sent && sent.error().code == errc::full) return false;
  outcome_.emplace(std::move(sent));
  return true;
}

bool send_operation::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  if (idle_ != stream_core::no_limit) {
    const wheel_guard wheel(stream_->host->loop());
    stream_->host->loop().timers().arm(*this, stream_inbox::clock::now() + idle_);
  }
  while (!wait()) {
    if (!attempt()) continue;
    waiting_ = nullptr;
    if (armed()) {
      const wheel_guard wheel(stream_->host->loop());
      stream_->host->loop().timers().cancel(*this);
    }
    return false;
  }
  return true;
}

bool send_operation::wait() {
  const stream_waiter me{nullptr, [](void* self) { static_cast<send_operation*>(self)->resume(); },
                         this};
  if (stream_->out.open() && stream_->out.may_send()) {
    stream_->host->when_room(me);  // it was the ring that was full
    return true;
  }
  return stream_->out.wait(me);
}

void send_operation::resume() {
  // The ring may be full again, or the credit spent: then we wait on.
  while (!attempt()) {
    if (wait()) return;
  }
  if (armed()) stream_->host->loop().timers().cancel(*this);
  std::exchange(waiting_, nullptr).resume();
}

void send_operation::on_due(stream_inbox::clock::time_point) {
  if (stream_->host->loop().forked()) return;
  stream_->out.stop_waiting();
  stream_->host->forget_room(this);
  if (!attempt()) outcome_.emplace(stream_->end_as_idle(idle_));
  std::exchange(waiting_, nullptr).resume();
}

}  // namespace ferry
