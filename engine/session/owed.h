// Records that must reach the peer and found no room: sent when there is some, in order, save that
// one whose body would be more than the peer may hold lets those of other calls pass.
// Threads   any.
// Memory    bounded by what it is for: one cancel or answer per call, one credit per stream.
#pragma once
#include <atomic>
#include <deque>
#include <mutex>

#include "engine/session/core.h"

namespace ferry {

class owed_records {
 public:
  bool any() const noexcept { return count_.load(std::memory_order_relaxed) != 0; }
  std::size_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

  void add(const record_fields& fields, loan content = {}) {
    const std::lock_guard guard(mutex_);
    // Credits of one stream add up.
    if (fields.kind == record_kind::credit) {
      for (entry& each : waiting_) {
        if (each.fields.kind != record_kind::credit || each.fields.call != fields.call) continue;
        each.fields.spare += fields.spare;
        each.fields.deadline_ns += fields.deadline_ns;
        return;
      }
    }
    // One sign of life says as much as many.
    if (fields.kind == record_kind::progress) {
      for (const entry& each : waiting_) {
        if (each.fields.kind == record_kind::progress && each.fields.call == fields.call) return;
      }
    }
    waiting_.push_back({fields, std::move(content)});
    count_.store(waiting_.size(), std::memory_order_relaxed);
  }

  // Sends what there is room for. True: nothing is left.
  bool flush(session_core& core) {
    if (!any()) return true;
    const std::lock_guard guard(mutex_);
    bool bodies_wait = false;
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      const bool has_body = core.owns(next->content);
      if (bodies_wait && next->content.size() > core.options().inline_limit) {
        ++next;
        continue;
      }
      const auto sent = has_body ? core.send(next->fields, next->content) : core.send(next->fields);
      if (sent || sent.error().code != errc::full) {
        next = waiting_.erase(next);  // sent, or the session is over
      } else if (has_body && core.has_room()) {
        bodies_wait = true;  // each is the last record of its call: nothing of that overtakes
        ++next;
      } else {
        break;
      }
    }
    count_.store(waiting_.size(), std::memory_order_relaxed);
    return waiting_.empty();
  }

 private:
  struct entry {
    record_fields fields;
    loan content;
  };
  std::mutex mutex_;
  std::deque<entry> waiting_;
  std::atomic<std::size_t> count_{0};
};

}  // namespace ferry
