#include "engine/loop/timer_queue.h"

#include <algorithm>

#include "shm/check.h"

namespace ferry {

timer_queue::~timer_queue() {
  for (const node& each : heap_) each.entry->queue_ = nullptr;
}

void timer_queue::arm(timer_entry& entry, time_point due) {
  if (entry.queue_ == nullptr) {
    heap_.push_back({due, &entry});  // may throw: nothing has changed yet
    entry.queue_ = this;
    entry.due_ = due;
    return sift_up(heap_.size() - 1, heap_.back());
  }
  FERRY_CHECK(entry.queue_ == this);
  entry.due_ = due;
  if (due < heap_[entry.position_].time) sift_up(entry.position_, {due, &entry});
}

void timer_queue::cancel(timer_entry& entry) noexcept {
  if (entry.queue_ != this) return;
  entry.queue_ = nullptr;
  const node last = heap_.back();
  heap_.pop_back();
  const std::size_t hole = entry.position_;
  if (hole == heap_.size()) return;
  if (last.time < heap_[hole].time) {
    sift_up(hole, last);
  } else {
    sift_down(hole, last);
  }
}

std::size_t timer_queue::run_due(time_point now, std::size_t limit) {
  limit = std::min(limit, heap_.size());
  std::size_t ran = 0;
  while (ran < limit && !heap_.empty() && heap_.front().time <= now) {
    timer_entry& entry = *heap_.front().entry;
    if (entry.due_ > heap_.front().time) {  // it was moved to later: not due, or after others
      sift_down(0, {entry.due_, &entry});
      continue;
    }
    cancel(entry);
    ++ran;
    entry.on_due(now);  // the entry may be gone after this
  }
  return ran;
}

void timer_queue::put(std::size_t at, node moved) noexcept {
  heap_[at] = moved;
  moved.entry->position_ = at;
}

void timer_queue::sift_up(std::size_t at, node moved) noexcept {
  while (at > 0) {
    const std::size_t parent = (at - 1) / 2;
    if (heap_[parent].time <= moved.time) break;
    put(at, heap_[parent]);
    at = parent;
  }
  put(at, moved);
}

void timer_queue::sift_down(std::size_t at, node moved) noexcept {
  for (std::size_t child; (child = 2 * at + 1) < heap_.size(); at = child) {
    if (child + 1 < heap_.size() && heap_[child + 1].time < heap_[child].time) ++child;
    if (moved.time <= heap_[child].time) break;
    put(at, heap_[child]);
  }
  put(at, moved);
}

}  // namespace ferry
