#include "engine/channel/frame_outbox.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

namespace ferry {

// Room behind the last piece, all in one. At most chunk_bytes.
template <class Pieces>
std::span<std::byte> frame_outbox::append(Pieces& to, chunk_list& spares, std::size_t size_bytes) {
  if (to.empty() || !to.back().chunk || chunk_bytes - to.back().filled < size_bytes) {
    to.emplace_back();
    if (spares.empty()) {
      to.back().chunk = std::make_unique_for_overwrite<std::byte[]>(chunk_bytes);
    } else {
      to.back().chunk = std::move(spares.back());
      spares.pop_back();
    }
  }
  piece& last = to.back();
  const std::span<std::byte> room(last.chunk.get() + last.filled, size_bytes);
  last.filled += size_bytes;
  return room;
}

template <class Pieces>
void frame_outbox::append_frame(Pieces& to, chunk_list& spares, const frame_fields& fields,
                                message& what) {
  const bool copied = fields.data_size <= copied_bytes;
  const std::size_t small = sizeof(frame_header) + (copied ? fields.data_size : 0);
  if (fields.head_size + small <= chunk_bytes) {
    const auto into = append(to, spares, fields.head_size + small);
    write_header(fields, into.data());
    if (fields.head_size != 0)
      write_head(what, into.subspan(sizeof(frame_header), fields.head_size));
    if (copied && fields.data_size != 0) {
      std::memcpy(into.data() + sizeof(frame_header) + fields.head_size, what.data.data(),
                  fields.data_size);
    }
  } else {
    // A head as large as that is rare: a piece of its own.
    payload head = payload::allocate(sizeof(frame_header) + fields.head_size);
    write_header(fields, head.writable().data());
    write_head(what, head.writable().subspan(sizeof(frame_header)));
    to.emplace_back();
    to.back().filled = head.size();
    to.back().data = std::move(head);
    if (copied && fields.data_size != 0) {
      const auto into = append(to, spares, fields.data_size);
      std::memcpy(into.data(), what.data.data(), fields.data_size);
    }
  }
  if (!copied) {
    to.emplace_back();
    to.back().filled = fields.data_size;
    to.back().data = std::move(what.data);
  }
  what.data = {};
}

bool frame_outbox::refuses(std::uint64_t size, bool urgent) const noexcept {
  const std::uint64_t before = queued();
  return before != 0 && before + size > limit_ + (urgent ? urgent_bytes : 0);
}

// With the mutex.
error frame_outbox::refuse(std::uint64_t size) {
  refused_ = true;
  return {errc::full, 0, "the send queue is full", size, limit_};
}

result<void> frame_outbox::push(const frame_fields& fields, message& what, bool urgent) {
  const std::uint64_t size = fields.wire_bytes();
  const std::lock_guard guard(mutex_);
  if (closed_) return error{errc::closed, 0, "the link is over"};
  if (refuses(size, urgent)) return refuse(size);
  append_frame(pieces_, spares_, fields, what);
  queued_.fetch_add(size, std::memory_order_relaxed);
  if (queued() > peak()) peak_.store(queued(), std::memory_order_relaxed);
  return {};
}

result<void> frame_outbox::stage(const frame_fields& fields, message& what, bool urgent) {
  const std::uint64_t size = fields.wire_bytes();
  if (closed_) return error{errc::closed, 0, "the link is over"};
  if (refuses(size, urgent)) {
    settle();  // so that all that has to leave first does
    const std::lock_guard guard(mutex_);
    if (refuses(size, urgent)) return refuse(size);
  }
  append_frame(staged_, staging_spares_, fields, what);
  staged_bytes_.store(staged() + size, std::memory_order_relaxed);
  return {};
}

void frame_outbox::settle() noexcept {
  const std::uint64_t size = staged();
  if (size == 0) return;
  const std::lock_guard guard(mutex_);
  for (piece& each : staged_) {
    pieces_.push_back(std::move(each));
    if (staging_spares_.size() >= spare_chunks || spares_.empty()) continue;
    staging_spares_.push_back(std::move(spares_.back()));  // as many as were just used
    spares_.pop_back();
  }
  staged_.clear();
  queued_.fetch_add(size, std::memory_order_relaxed);
  staged_bytes_.store(0, std::memory_order_relaxed);
  if (queued() > peak()) peak_.store(queued(), std::memory_order_relaxed);
}

std::size_t frame_outbox::begin_write(std::span<iovec> out, std::size_t most) {
  const std::lock_guard guard(mutex_);
  if (in_flight_ != 0 || closed_ || full()) return 0;
  std::size_t count = 0;
  for (const piece& each : pieces_) {
    if (count == out.size() || in_flight_ == most) break;
    const std::size_t part = std::min(each.filled - each.written, most - in_flight_);
    if (part == 0) continue;
    out[count++] = {const_cast<std::byte*>(each.bytes() + each.written), part};
    in_flight_ += part;
  }
  return count;
}

frame_outbox::after_write frame_outbox::end_write(std::int64_t outcome) {
  const std::lock_guard guard(mutex_);
  auto written = static_cast<std::size_t>(std::max<std::int64_t>(outcome, 0));
  if (written < in_flight_) full_.store(true, std::memory_order_relaxed);
  in_flight_ = 0;
  queued_.fetch_sub(written, std::memory_order_relaxed);
  while (!pieces_.empty()) {
    piece& first = pieces_.front();
    const std::size_t part = std::min(written, first.filled - first.written);
    first.written += part;
    written -= part;
    if (first.written < first.filled) break;
    if (first.chunk && spares_.size() < spare_chunks) spares_.push_back(std::move(first.chunk));
    pieces_.pop_front();
  }
  const bool made_room = refused_ && (queued() == 0 || queued() < limit_ / 2);
  if (made_room) refused_ = false;
  return {any() && !full(), made_room};
}

void frame_outbox::room() {
  const std::lock_guard guard(mutex_);
  full_.store(false, std::memory_order_relaxed);
}

bool frame_outbox::has_spares() noexcept {
  const std::lock_guard guard(mutex_);
  return !spares_.empty() || !staging_spares_.empty();
}

void frame_outbox::trim() noexcept {
  const std::lock_guard guard(mutex_);
  if (!pieces_.empty() || !staged_.empty()) return;
  spares_.clear();
  staging_spares_.clear();
}

void frame_outbox::close() noexcept {
  std::unique_lock guard(mutex_);
  closed_ = true;
  while (in_flight_ != 0) {
    guard.unlock();
    ::sched_yield();
    guard.lock();
  }
  pieces_.clear();
  spares_.clear();
  staged_.clear();
  staging_spares_.clear();
  queued_.store(0, std::memory_order_relaxed);
  staged_bytes_.store(0, std::memory_order_relaxed);
}

}  // namespace ferry
