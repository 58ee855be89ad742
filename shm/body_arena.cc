#include "shm/body_arena.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <ctime>
#include <exception>
#include <limits>
#include <span>
#include <utility>

#include "shm/check.h"
#include "shm/mapping.h"

namespace ferry {
namespace {

constexpr std::uint64_t unit_bytes = 64;  // a cache line: bodies never share one
constexpr std::uint64_t largest_quota_bytes = 0xffff'0000ull * unit_bytes;  // fits extent_pool
constexpr std::uint64_t largest_step_bytes = 64u << 20;   // segments for small bodies end here
constexpr std::uint64_t largest_eager_bytes = 64u << 20;  // larger blocks are mapped as touched
constexpr std::size_t populate_step_bytes = 64u << 10;

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

std::uint64_t page_bytes() {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::uint32_t units_for(std::uint64_t size_bytes) {
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, (size_bytes + unit_bytes - 1) / unit_bytes));
}

// The steady clock to a few milliseconds, at a quarter of its price: free() may read it often.
body_arena::time_point coarse_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return body_arena::time_point(std::chrono::seconds(now.tv_sec) +
                                std::chrono::nanoseconds(now.tv_nsec));
}

arena_options within_bounds(arena_options options) {
  options.quota_bytes = std::min(options.quota_bytes, largest_quota_bytes);
  options.first_segment_bytes = std::clamp(options.first_segment_bytes, page_bytes(),
                                           std::max(page_bytes(), largest_quota_bytes));
  return options;
}

}  // namespace

body_arena::body_arena(arena_options options, announce_fn announce, retire_fn retire)
    : options_(within_bounds(options)),
      announce_(std::move(announce)),
      retire_(std::move(retire)) {}

result<arena_block> body_arena::allocate(std::uint64_t size_bytes) {
  std::unique_lock lock(mutex_);
  if (size_bytes > options_.quota_bytes) {  // also keeps the arithmetic below from wrapping
    return error{errc::no_memory, 0, "body quota", size_bytes,
                 options_.quota_bytes - stats_.reserved_bytes};
  }
  if (!extents_.make_ready()) return error{errc::no_memory, 0, "heap of this process"};
  const std::uint32_t units = units_for(size_bytes);
  extent_pool::id taken = extents_.take(units);
  if (taken == 0) taken = extents_.take(units, true);
  if (taken == 0) {
    const auto grown = grow(size_bytes, round_up(units * unit_bytes, page_bytes()));
    if (!grown) return grown.error();
    taken = extents_.take(units, true);
    FERRY_CHECK(taken != 0);
  }
  const extent_pool::extent& extent = extents_[taken];
  segment_slot& slot = slots_[extent.region];
  if (slot.live_blocks++ == 0) --idle_segments_;
  const std::uint64_t offset = extent.start * unit_bytes;
  const arena_block block{slot.id, offset, size_bytes, slot.memory->bytes().data() + offset, taken};
  ++stats_.allocated_blocks;
  stats_.allocated_bytes += extent.units * unit_bytes;
  stats_.high_water_bytes = std::max(stats_.high_water_bytes, stats_.allocated_bytes);
  const byte_range cold = claim_unpopulated(slot, offset, size_bytes);
  if (cold.size_bytes > 0) {
    // Outside the lock: it takes up to some 10 ms. The segment cannot go, our block is in it; a
    // reallocation of slots_ could move its owner, so this works on the memory alone.
    const std::span<std::byte> bytes = slot.memory->bytes();
    lock.unlock();
    populate_for_writing(bytes, cold.offset, cold.size_bytes);
  }
  return block;
}

void body_arena::free(const arena_block& block) noexcept {
  const std::lock_guard lock(mutex_);
  FERRY_CHECK(extents_.is_taken(block.handle));
  const extent_pool::extent& extent = extents_[block.handle];
  segment_slot& slot = slots_[extent.region];
  FERRY_CHECK(slot.id == block.segment && extent.start * unit_bytes == block.offset);
  --stats_.allocated_blocks;
  stats_.allocated_bytes -= extent.units * unit_bytes;
  extents_.give(block.handle);
  if (--slot.live_blocks == 0) {
    slot.free_since = coarse_now();
    ++idle_segments_;
  }
}

std::size_t body_arena::trim(time_point now, bool all) {
  const std::lock_guard lock(mutex_);
  return retire_idle(now, all);
}

std::optional<body_arena::time_point> body_arena::next_shrink() const {
  const std::lock_guard lock(mutex_);
  std::optional<time_point> soonest;
  if (idle_segments_ == 0) return soonest;
  for (const segment_slot& slot : slots_) {
    if (slot.id == 0 || slot.live_blocks != 0) continue;
    const time_point due = slot.free_since + options_.idle_before_shrink;
    if (!soonest || due < *soonest) soonest = due;
  }
  return soonest;
}

arena_stats body_arena::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

// Adds a segment that has room for `needed_bytes`. `size_bytes` is what the caller asked for.
result<void> body_arena::grow(std::uint64_t size_bytes, std::uint64_t needed_bytes) {
  const auto left = [this] { return options_.quota_bytes - stats_.reserved_bytes; };
  std::uint64_t idle_bytes = 0;
  for (const segment_slot& slot : slots_) {
    if (slot.id != 0 && slot.live_blocks == 0) idle_bytes += slot.memory->size();
  }
  if (needed_bytes > left() && needed_bytes <= left() + idle_bytes) retire_idle(coarse_now(), true);
  if (needed_bytes > left()) return error{errc::no_memory, 0, "body quota", size_bytes, left()};
  if (last_id_ == std::numeric_limits<std::uint32_t>::max()) {
    return error{errc::limit, 0, "segment ids of a session", last_id_, last_id_};
  }
  auto made = make_segment(needed_bytes);
  if (!made && made.error().code == errc::no_memory && retire_idle(coarse_now(), true) > 0) {
    made = make_segment(needed_bytes);
  }
  if (!made) return made.error();
  if (const auto sealed = made->seal(); !sealed) return sealed;

  std::size_t index = 0;
  segment_slot added;
  try {  // everything that can fail comes before the announcement
    while (index < slots_.size() && slots_[index].id != 0) ++index;
    if (index == slots_.size()) slots_.emplace_back();
    added.populated.resize(made->size() / populate_step_bytes / 64 + 1);
  } catch (const std::exception&) {
    return error{errc::no_memory, 0, "heap of this process"};
  }
  added.id = ++last_id_;
  if (const auto announced = announce_(added.id, *made); !announced) return announced;
  added.free_since = coarse_now();
  added.first_extent = extents_.add_region(static_cast<std::uint32_t>(index),
                                           static_cast<std::uint32_t>(made->size() / unit_bytes));
  ++idle_segments_;
  ++stats_.segments;
  stats_.reserved_bytes += made->size();
  added.memory.emplace(std::move(*made));
  slots_[index] = std::move(added);
  return {};
}

// The more segments there are, the larger the next, so that many small bodies need few segments;
// when memory is short, no larger than it must be.
result<own_segment> body_arena::make_segment(std::uint64_t needed_bytes) {
  const std::uint64_t quota_left =
      (options_.quota_bytes - stats_.reserved_bytes) / page_bytes() * page_bytes();
  std::uint64_t step = options_.first_segment_bytes;
  for (std::size_t i = 0; i < stats_.segments && step < largest_step_bytes; ++i) step *= 2;
  step = std::min(step, std::max(largest_step_bytes, options_.first_segment_bytes));
  const std::uint64_t size =
      round_up(std::max(needed_bytes, std::min(step, quota_left)), page_bytes());
  auto made = own_segment::create("ferry-bodies", size);
  if (made || size == needed_bytes) return made;
  return own_segment::create("ferry-bodies", needed_bytes);
}

std::size_t body_arena::retire_idle(time_point now, bool all) {
  if (idle_segments_ == 0) return 0;
  std::size_t given_back = 0;
  for (segment_slot& slot : slots_) {
    if (slot.id == 0 || slot.live_blocks != 0) continue;
    if (!all && now - slot.free_since < options_.idle_before_shrink) continue;
    if (!retire_(slot.id)) {
      slot.free_since = now;  // ask again after another idle time, not at once
      continue;
    }
    extents_.remove_region(slot.first_extent);
    --idle_segments_;
    --stats_.segments;
    stats_.reserved_bytes -= slot.memory->size();
    given_back += slot.memory->size();
    slot = {};
  }
  return given_back;
}

// The part of a new block whose pages were never mapped ahead, marked as mapped from here on.
body_arena::byte_range body_arena::claim_unpopulated(segment_slot& slot, std::size_t offset,
                                                     std::size_t size) {
  if (size == 0 || size > largest_eager_bytes) return {};
  const std::size_t first = offset / populate_step_bytes;
  const std::size_t last = (offset + size - 1) / populate_step_bytes;
  std::size_t first_cold = last + 1;
  std::size_t last_cold = 0;
  for (std::size_t at = first / 64; at <= last / 64; ++at) {
    std::uint64_t& done = slot.populated[at];
    std::uint64_t ours = ~0ull;
    if (at == first / 64) ours &= ~0ull << (first % 64);
    if (at == last / 64) ours &= ~0ull >> (63 - last % 64);
    const std::uint64_t cold = ours & ~done;
    if (cold == 0) continue;
    done |= ours;
    first_cold = std::min(first_cold, at * 64 + static_cast<std::size_t>(std::countr_zero(cold)));
    last_cold = at * 64 + 63 - static_cast<std::size_t>(std::countl_zero(cold));
  }
  if (first_cold > last) return {};
  return {first_cold * populate_step_bytes, (last_cold - first_cold + 1) * populate_step_bytes};
}

}  // namespace ferry
