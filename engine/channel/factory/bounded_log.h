// The last so many of something: what is over the bound pushes the oldest out, and is counted.
// Threads   one at a time.
// Source    engine/channel/factory/README.md, "Monitoring".
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <utility>
#include <vector>

namespace ferry {

template <class T>
class bounded_log {
 public:
  explicit bounded_log(std::size_t most) : most_(most) {}

  void push(T entry) {
    entries_.push_back(std::move(entry));
    if (entries_.size() <= most_) return;
    entries_.pop_front();
    ++dropped_;
  }
  // The oldest ones, up to `most`, out of the log.
  std::vector<T> take(std::size_t most) {
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(std::min(most, size()));
    std::vector<T> taken(std::make_move_iterator(entries_.begin()), std::make_move_iterator(end));
    entries_.erase(entries_.begin(), end);
    return taken;
  }
  std::vector<T> copy() const { return {entries_.begin(), entries_.end()}; }
  std::size_t size() const noexcept { return entries_.size(); }
  std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  std::size_t most_;
  std::deque<T> entries_;
  std::uint64_t dropped_ = 0;
};

}  // namespace ferry
