#include "engine/stream/operations.h"

namespace ferry {

using clock = stream_inbox::clock;

namespace {

void disarm(timer_entry& clock_of_wait, loop_core& loop) {
  if (!clock_of_wait.armed()) return;
  const wheel_guard wheel(loop);
  loop.timers().cancel(clock_of_wait);
}

}  // namespace

// --- next ---------------------------------------------------------------------------------------

next_operation::~next_operation() {
  if (gone_ != nullptr) *gone_ = true;
  if (!waiting_) return;
  if (stream_->host->loop().forked()) return;  // whoever held a lock is not here
  stream_->in.stop_waiting();
  disarm(*this, stream_->host->loop());
}

bool next_operation::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  loop_core& loop = stream_->host->loop();
  if (idle_ != stream_core::no_limit) {
    began_ = clock::now();
    const auto until = stream_->idle_until(idle_, began_);
    const wheel_guard wheel(loop);
    loop.timers().arm(*this, until.value_or(began_));
  }
  // Last: from here on the driver may resume us.
  const bool waits = stream_->in.wait(
      {nullptr, [](void* self) { static_cast<next_operation*>(self)->resume(); }, this});
  if (waits) return true;
  waiting_ = nullptr;
  disarm(*this, loop);
  return false;
}

void next_operation::resume() {
  if (armed()) stream_->host->loop().timers().cancel(*this);
  std::exchange(waiting_, nullptr).resume();
}

void next_operation::on_due(clock::time_point) {
  if (const auto later = stream_->idle_until(idle_, began_)) {
    return stream_->host->loop().timers().arm(*this, *later);
  }
  stream_->in.stop_waiting();
  // Whoever waits to write hears of the end first, and may destroy us.
  const auto stream = stream_;
  bool gone = false;
  gone_ = &gone;
  call_error why = stream->end_as_idle(idle_);
  if (gone) return;
  gone_ = nullptr;
  outcome_ = std::move(why);
  resume();
}

// --- send ---------------------------------------------------------------------------------------

send_operation::~send_operation() {
  if (gone_ != nullptr) *gone_ = true;
  if (!waiting_) return;
  if (stream_->host->loop().forked()) return;
  stop_waiting();
  disarm(*this, stream_->host->loop());
}

bool send_operation::attempt() {
  auto sent = stream_->try_write(what_, false);
  if (sent && !*sent) return false;
  if (sent) {
    outcome_.emplace();
  } else {
    outcome_.emplace(std::move(sent).error());
  }
  return true;
}

bool send_operation::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  if (idle_ != stream_core::no_limit) {
    began_ = clock::now();
    const auto until = stream_->write_until(idle_, began_);
    const wheel_guard wheel(stream_->host->loop());
    stream_->host->loop().timers().arm(*this, until.value_or(began_));
  }
  while (!wait()) {
    if (!attempt()) continue;
    waiting_ = nullptr;
    disarm(*this, stream_->host->loop());
    return false;
  }
  return true;
}

// For credit, or for room where it was the ring that was full; in both cases also for the end.
bool send_operation::wait() {
  const stream_waiter me{nullptr, [](void* self) { static_cast<send_operation*>(self)->resume(); },
                         this};
  if (!stream_->out.may_send()) return stream_->out.wait(me);
  if (!stream_->out.watch_end(me)) return false;
  stream_->host->when_room(me);
  return true;
}

void send_operation::stop_waiting() {
  stream_->out.stop_waiting();
  stream_->host->forget_room(this);
}

void send_operation::resume() {
  stop_waiting();
  // The ring may be full again, or the credit spent: then we wait on.
  while (!attempt()) {
    if (wait()) return;
  }
  if (armed()) stream_->host->loop().timers().cancel(*this);
  std::exchange(waiting_, nullptr).resume();
}

void send_operation::on_due(clock::time_point) {
  if (stream_->host->loop().forked()) return;
  if (const auto later = stream_->write_until(idle_, began_)) {
    return stream_->host->loop().timers().arm(*this, *later);
  }
  stop_waiting();
  if (!attempt()) {
    // Whoever waits to read hears of the end first, and may destroy us.
    const auto stream = stream_;
    bool gone = false;
    gone_ = &gone;
    call_error why = stream->end_as_idle(idle_);
    if (gone) return;
    gone_ = nullptr;
    outcome_.emplace(std::move(why));
  }
  std::exchange(waiting_, nullptr).resume();
}

}  // namespace ferry
