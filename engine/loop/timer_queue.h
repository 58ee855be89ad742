// The deadlines of a loop: entries that others embed, in one heap ordered by when they are due.
// Moving a deadline to later only stores the new time, so a deadline per item of a stream costs
// nothing; the heap notices when the old time comes.
// Units     time points of std::chrono::steady_clock.
// Cost      arm, cancel: O(log n); arm to a later time: O(1), touches nothing but the entry.
//           Allocates only when more entries are armed than ever before.
// Threads   one at a time: the loop serialises.
// Lifetime  an entry that goes is cancelled; a queue that goes disarms its entries. An entry may
//           arm, cancel and destroy itself and others inside on_due(), but not the queue.
// Source    engine/README.md, "Deadlines".
#pragma once
#include <chrono>
#include <cstddef>
#include <limits>
#include <vector>

namespace ferry {

class timer_queue;

class timer_entry {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  timer_entry() = default;
  timer_entry(const timer_entry&) = delete;
  timer_entry& operator=(const timer_entry&) = delete;

  bool armed() const noexcept { return queue_ != nullptr; }
  time_point due() const noexcept { return due_; }  // of an armed one

 protected:
  ~timer_entry();  // entries are owned by whoever embeds them, never by this base

 private:
  friend timer_queue;
  virtual void on_due(time_point now) = 0;  // no longer armed when it runs

  timer_queue* queue_ = nullptr;
  std::size_t position_ = 0;  // in the queue's heap
  time_point due_{};          // never before the heap's time for us
};

class timer_queue {
 public:
  using time_point = timer_entry::time_point;

  timer_queue() = default;
  timer_queue(const timer_queue&) = delete;
  timer_queue& operator=(const timer_queue&) = delete;
  ~timer_queue();

  // An armed entry gets another time; it must not be armed in another queue (CHECK).
  void arm(timer_entry& entry, time_point due);
  void cancel(timer_entry& entry) noexcept;  // nothing happens if it is not armed here

  // No entry is due before this; max() if none is armed.
  time_point next() const noexcept {
    return heap_.empty() ? time_point::max() : heap_.front().time;
  }
  // Runs what is due by `now`, the earliest first, at most `limit` entries and never more than were
  // armed before, so that an entry which arms itself again cannot hold the loop. Returns how many.
  std::size_t run_due(time_point now, std::size_t limit = std::numeric_limits<std::size_t>::max());

  std::size_t size() const noexcept { return heap_.size(); }
  bool empty() const noexcept { return heap_.empty(); }

 private:
  struct node {
    time_point time;  // when we look at the entry: at its due time or earlier
    timer_entry* entry;
  };
  void put(std::size_t at, node moved) noexcept;
  void sift_up(std::size_t at, node moved) noexcept;
  void sift_down(std::size_t at, node moved) noexcept;

  std::vector<node> heap_;  // binary; a node's children stand at 2i + 1 and 2i + 2
};

inline timer_entry::~timer_entry() {
  if (queue_ != nullptr) queue_->cancel(*this);
}

}  // namespace ferry
