#include "engine/channel/memory_link.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace ferry {
result<void> memory_link::send(const frame_fields& fields, message& what, bool urgent) {
  const std::lock_guard guard(pipe_->mutex);
  if (out_.closed) return error{errc::closed, 0, "the link is over"};
  const std::uint64_t room = pipe_->limit + (urgent ? 64u << 10 : 0u);
  if (!out_.frames.empty() && out_.bytes + fields.wire_bytes() > room) {
    out_.writer_waits = true;
    return error{errc::full, 0, "the send queue is full", fields.wire_bytes(), pipe_->limit};
  }
  out_.bytes += fields.wire_bytes();
  out_.most_bytes = std::max(out_.most_bytes, out_.bytes);
  out_.frames.push_back({fields, std::move(what)});
  what = {};
  // relaxed, here and below: the mutex orders arm() and this; disarm() only spares a wakeup.
  if (out_.reader_sleeps.exchange(false, std::memory_order_relaxed) && out_.reader != nullptr) {
    out_.reader->wake();
  }
  return {};
}

std::uint64_t memory_link::queued_bytes() const noexcept {
  const std::lock_guard guard(pipe_->mutex);
  return out_.bytes;
}

std::uint64_t memory_link::queued_peak() const noexcept {
  const std::lock_guard guard(pipe_->mutex);
  return out_.most_bytes;
}

channel_peer memory_link::peer() const {
  channel_peer self;
  self.pid = ::getpid();
  self.uid = ::getuid();
  return self;
}

result<void> memory_link::join(loop_core&, loop_source&, link_sink& sink) {
  const std::lock_guard guard(pipe_->mutex);
  sink_ = &sink;
  in_.reader = out_.writer = &sink;
  return {};
}

void memory_link::leave() noexcept {
  if (made_in_.left()) return;  // a forked child: somebody may have held the mutex
  const std::lock_guard guard(pipe_->mutex);
  if (std::exchange(sink_, nullptr) == nullptr) return;
  in_.reader = out_.writer = nullptr;
  in_.closed = out_.closed = true;
  in_.frames.clear();
  if (out_.reader != nullptr) out_.reader->wake();
  if (in_.writer != nullptr) in_.writer->wake();
}

std::size_t memory_link::read(std::size_t limit) {
  std::size_t count = 0;
  while (count < limit && sink_ != nullptr && sink_->wants_more()) {
    memory_pipe::frame next;
    {
      const std::lock_guard guard(pipe_->mutex);
      if (in_.frames.empty()) break;
      next = std::move(in_.frames.front());
      in_.frames.pop_front();
      in_.bytes -= next.fields.wire_bytes();
      if (in_.writer_waits && in_.bytes <= pipe_->limit / 2) {
        in_.writer_waits = false;
        if (in_.writer != nullptr) in_.writer->has_room();
      }
    }
    ++count;
    ++activity_;
    sink_->take(next.fields, std::move(next.what));
  }
  return count;
}

bool memory_link::has_input() noexcept {
  if (sink_ == nullptr) return false;
  const std::lock_guard guard(pipe_->mutex);
  return in_.frames.empty() ? in_.closed : sink_->wants_more();
}

void memory_link::arm() {
  const std::lock_guard guard(pipe_->mutex);
  in_.reader_sleeps.store(true, std::memory_order_relaxed);
}

void memory_link::disarm() noexcept {
  // Without the mutex: whoever wakes us with the wheel of a loop that both ends share holds it.
  in_.reader_sleeps.store(false, std::memory_order_relaxed);
}

bool memory_link::flushed() noexcept { return true; }

bool memory_link::peer_gone() const noexcept {
  const std::lock_guard guard(pipe_->mutex);
  return in_.closed;
}

std::optional<channel_error> memory_link::lost() {
  const std::lock_guard guard(pipe_->mutex);
  if (!in_.closed || !in_.frames.empty()) return std::nullopt;
  return channel_error(errc::unavailable, "the other end has gone");
}

}  // namespace ferry
