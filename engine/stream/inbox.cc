#include "engine/stream/inbox.h"

#include <algorithm>

#include "shm/coarse_clock.h"

namespace ferry {
namespace {

constexpr stream_window largest{1u << 31, std::uint64_t{1} << 47};
// A sender that waits for credit takes it for a sign of life.
constexpr auto sign_of_life = std::chrono::milliseconds(10);

}  // namespace

stream_inbox::stream_inbox(stream_window window, stream_credit allowed) noexcept
    : items_allowed_(allowed.items),
      bytes_allowed_(static_cast<std::int64_t>(allowed.bytes)),
      window_{std::clamp(window.items, 1u, largest.items),
              std::clamp(window.bytes, std::uint64_t{1}, largest.bytes)},
      items_owed_(window_.items > allowed.items ? window_.items - allowed.items : 0),
      bytes_owed_(window_.bytes > allowed.bytes ? window_.bytes - allowed.bytes : 0) {}

bool stream_inbox::push(stream_entry&& entry) {
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    if (items_allowed_ <= 0 || bytes_allowed_ <= 0) return false;
    --items_allowed_;
    bytes_allowed_ -= static_cast<std::int64_t>(entry.content.size());
    if (items_allowed_ <= 0 || bytes_allowed_ <= 0) spent_.store(true, std::memory_order_relaxed);
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
  if (items_owed_ * 2 < window_.items && bytes_owed_ * 2 < window_.bytes) {
    if (!spent_.load(std::memory_order_relaxed)) return std::nullopt;
    const auto now = coarse_now();
    if (now - told_ < sign_of_life) return std::nullopt;
    told_ = now;
  }
  const std::lock_guard guard(lock_);
  if (finished_) return std::nullopt;
  const stream_credit more{static_cast<std::uint32_t>(items_owed_), bytes_owed_};
  if (more.items == 0 && more.bytes == 0) return std::nullopt;
  items_allowed_ += more.items;
  bytes_allowed_ += static_cast<std::int64_t>(more.bytes);
  spent_.store(items_allowed_ <= 0 || bytes_allowed_ <= 0, std::memory_order_relaxed);
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

void stream_inbox::discard(std::optional<call_error> why) {
  std::vector<stream_entry> dropped;
  stream_waiter woken;
  {
    const std::lock_guard guard(lock_);
    const bool all_read = finished_ && !failure_ && came_.empty() && taken_ == taking_.size();
    discarding_ = true;
    finished_ = true;
    failure_.reset();
    if (!all_read) failure_ = std::move(why);
    dropped.swap(came_);
    if (waiter_) woken = waiter_.wake();
  }
  taking_.clear();
  taken_ = 0;
  woken.run();
}

}  // namespace ferry
