#include "engine/stream/inbox.h"

#include <algorithm>

namespace ferry {

stream_inbox::stream_inbox(stream_window window, stream_credit allowed) noexcept
    : items_allowed_(allowed.items),
      bytes_allowed_(static_cast<std::int64_t>(allowed.bytes)),
      window_(window),
      items_owed_(window.items > allowed.items ? window.items - allowed.items : 0),
      bytes_owed_(window.bytes > allowed.bytes ? window.bytes - allowed.bytes : 0) {}

bool stream_inbox::push(stream_entry&& entry) {
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    if (items_allowed_ <= 0 || bytes_allowed_ <= 0) return false;
    --items_allowed_;
    bytes_allowed_ -= static_cast<std::int64_t>(entry.content.size());
    if (discarding_ || finished_) return true;
    came_.push_back(std::move(entry));
    if (waiter_) woken = waiter_.wake();
  }
  woken.run();
  return true;
}

void stream_inbox::push_last(body&& content) {
  const std::lock_guard guard(lock_);
  if (!discarding_ && !finished_) came_.push_back({std::move(content), 0, 0});
}

void stream_inbox::finish(std::optional<call_error> why) {
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    if (finished_) return;
    finished_ = true;
    failure_ = std::move(why);
    if (waiter_) woken = waiter_.wake();
  }
  woken.run();
}

void stream_inbox::progress(clock::time_point now) noexcept {
  const std::lock_guard guard(lock_);
  progress_ = now;
}

stream_inbox::seen stream_inbox::take(stream_entry& out) {
  if (taken_ == taking_.size()) {
    taking_.clear();
    taken_ = 0;
    const std::lock_guard guard(lock_);
    if (came_.empty()) return finished_ ? seen::end : seen::nothing;
    taking_.swap(came_);
  }
  out = std::move(taking_[taken_++]);
  ++items_owed_;
  bytes_owed_ += out.content.size();
  return seen::item;
}

std::optional<call_error> stream_inbox::failure() {
  const std::lock_guard guard(lock_);
  return std::exchange(failure_, std::nullopt);
}

std::optional<stream_credit> stream_inbox::owed() noexcept {
  if (items_owed_ * 2 < window_.items && bytes_owed_ * 2 < window_.bytes) return std::nullopt;
  const std::lock_guard guard(lock_);
  if (finished_) return std::nullopt;
  const stream_credit more{static_cast<std::uint32_t>(items_owed_), bytes_owed_};
  if (more.items == 0 && more.bytes == 0) return std::nullopt;
  items_allowed_ += more.items;
  bytes_allowed_ += static_cast<std::int64_t>(more.bytes);
  items_owed_ = 0;
  bytes_owed_ = 0;
  return more;
}

bool stream_inbox::wait(stream_waiter who) {
  const std::lock_guard guard(lock_);
  if (ready()) return false;
  waiter_ = who;
  return true;
}

void stream_inbox::stop_waiting() {
  const std::lock_guard guard(lock_);
  waiter_ = {};
}

stream_inbox::clock::time_point stream_inbox::last_progress() const noexcept {
  const std::lock_guard guard(lock_);
  return progress_;
}

void stream_inbox::discard() {
  std::vector<stream_entry> dropped;
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    discarding_ = true;
    finished_ = true;
    failure_.reset();
    dropped.swap(came_);
    if (waiter_) woken = waiter_.wake();
  }
  taking_.clear();
  taken_ = 0;
  woken.run();
}

}  // namespace ferry
