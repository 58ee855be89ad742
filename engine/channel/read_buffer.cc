#include "engine/channel/read_buffer.h"

#include <cstring>
#include <utility>
#include <vector>

namespace ferry {
namespace {

// Of this thread: its spare buffers went already, before a static object that still had one.
thread_local constinit bool spares_gone = false;

struct spare_buffers {
  std::vector<std::unique_ptr<std::byte[]>> kept;
  int out = 0;  // taken here and not given back here: a hint, since they may move between threads
};
spare_buffers& spares() {
  struct until_the_end : spare_buffers {
    ~until_the_end() { spares_gone = true; }
  };
  static thread_local until_the_end mine;
  return mine;
}

}  // namespace

void read_buffer::drop(std::size_t count) noexcept {
  begin_ += count;
  if (begin_ == end_) begin_ = end_ = 0;
}

bool read_buffer::take(bool only_spare) {
  spare_buffers last;
  spare_buffers& here = spares_gone ? last : spares();
  if (only_spare && here.out >= at_once) return false;
  std::unique_ptr<std::byte[]> fresh;
  if (here.kept.empty()) {
    fresh = std::make_unique_for_overwrite<std::byte[]>(full_bytes);
  } else {
    fresh = std::move(here.kept.back());
    here.kept.pop_back();
  }
  ++here.out;
  if (size() != 0) std::memcpy(fresh.get(), memory_.get() + begin_, size());
  end_ = size();
  begin_ = 0;
  memory_ = std::move(fresh);
  capacity_ = full_bytes;
  return true;
}

void read_buffer::release() noexcept {
  if (capacity_ == full_bytes && !spares_gone) {
    spare_buffers& here = spares();
    if (here.out > 0) --here.out;
    if (here.kept.size() < at_once) here.kept.push_back(std::move(memory_));
  }
  memory_.reset();
  capacity_ = begin_ = end_ = 0;
}

std::span<std::byte> read_buffer::room(bool only_spare) {
  if (capacity_ != full_bytes && !take(only_spare)) return {};
  if (begin_ != 0 && capacity_ - end_ < capacity_ / 2) {
    std::memmove(memory_.get(), memory_.get() + begin_, size());
    end_ -= std::exchange(begin_, 0);
  }
  return {memory_.get() + end_, capacity_ - end_};
}

void read_buffer::rest() {
  if (size() == 0) return release();
  if (capacity_ != full_bytes || size() > small_bytes) return;
  auto small = std::make_unique_for_overwrite<std::byte[]>(small_bytes);
  const std::size_t kept = size();
  std::memcpy(small.get(), memory_.get() + begin_, kept);
  release();
  memory_ = std::move(small);
  capacity_ = small_bytes;
  end_ = kept;
}

}  // namespace ferry
