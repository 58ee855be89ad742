#include "shm/extent_pool.h"

#include <algorithm>
#include <bit>
#include <exception>

#include "shm/check.h"

namespace ferry {
namespace {

constexpr std::uint32_t quick_looks = 8;
constexpr std::uint32_t thorough_looks = 1u << 16;
constexpr std::uint32_t smallest_rest = 4;  // a smaller rest stays with the extent: it helps nobody
constexpr std::size_t records_per_call = 2;  // a take or add_region makes one; both may follow

}  // namespace

extent_pool::extent_pool() : extents_(1) {}

bool extent_pool::make_ready() noexcept {
  if (spare_count_ >= records_per_call) return true;
  const std::size_t known = extents_.size();
  if (known >= (1u << 31)) return false;
  try {
    extents_.resize(std::max<std::size_t>(64, known * 2));
  } catch (const std::exception&) {
    return false;
  }
  for (std::size_t i = extents_.size(); i-- > known;) drop_record(static_cast<id>(i));
  return true;
}

extent_pool::id extent_pool::add_region(std::uint32_t region, std::uint32_t units) noexcept {
  const id first = new_record();
  extents_[first] = {region, 0, units};
  link(first);
  return first;
}

void extent_pool::remove_region(id first) noexcept {
  const extent& whole = extents_[first];
  FERRY_CHECK(whole.is == extent::free && whole.before == 0 && whole.after == 0);
  unlink(first);
  drop_record(first);
}

extent_pool::id extent_pool::take(std::uint32_t units, bool thorough) noexcept {
  id found = fitting(units, quick_looks);
  if (found == 0) found = larger_than(class_of(units));
  if (found == 0 && thorough) found = fitting(units, thorough_looks);
  if (found == 0) return 0;
  unlink(found);
  extents_[found].is = extent::taken;
  const std::uint32_t rest = extents_[found].units - units;
  if (rest < smallest_rest) return found;
  const id back = new_record();
  extent& front = extents_[found];
  extents_[back] = {front.region, front.start + units, rest, found, front.after};
  if (front.after != 0) extents_[front.after].before = back;
  front.after = back;
  front.units = units;
  link(back);
  return found;
}

void extent_pool::give(id taken) noexcept {
  FERRY_CHECK(is_taken(taken));
  id whole = taken;
  const auto swallow_after = [this](id front) {
    const id back = extents_[front].after;
    extents_[front].units += extents_[back].units;
    extents_[front].after = extents_[back].after;
    if (extents_[back].after != 0) extents_[extents_[back].after].before = front;
    drop_record(back);
  };
  if (const id after = extents_[whole].after; extents_[after].is == extent::free) {
    unlink(after);
    swallow_after(whole);
  }
  if (const id before = extents_[whole].before; extents_[before].is == extent::free) {
    unlink(before);
    whole = before;
    swallow_after(whole);
  }
  link(whole);
}

// Below 16 units a class is one size; from there each power of two has sixteen.
std::uint32_t extent_pool::class_of(std::uint32_t units) noexcept {
  if (units < 16) return units;
  const auto top = static_cast<std::uint32_t>(std::bit_width(units)) - 1;
  return (top - 3) * 16 + ((units >> (top - 4)) & 15);
}

// In a class of its own an extent may be a little too small: look, but not at all of them.
extent_pool::id extent_pool::fitting(std::uint32_t units, std::uint32_t looks) const noexcept {
  id at = heads_[class_of(units)];
  for (; at != 0 && looks > 0; at = extents_[at].free_after, --looks) {
    if (extents_[at].units >= units) return at;
  }
  return 0;
}

// In any larger class whatever comes first is large enough.
extent_pool::id extent_pool::larger_than(std::uint32_t size_class) const noexcept {
  const std::uint32_t from = size_class + 1;
  if (from >= class_count) return 0;
  std::size_t word = from / 64;
  std::uint64_t bits = filled_[word] & (~0ull << (from % 64));
  while (bits == 0) {
    if (++word == filled_.size()) return 0;
    bits = filled_[word];
  }
  return heads_[word * 64 + static_cast<std::size_t>(std::countr_zero(bits))];
}

void extent_pool::link(id which) noexcept {
  const std::uint32_t size_class = class_of(extents_[which].units);
  extent& added = extents_[which];
  added.is = extent::free;
  added.free_before = 0;
  added.free_after = heads_[size_class];
  if (added.free_after != 0) extents_[added.free_after].free_before = which;
  heads_[size_class] = which;
  filled_[size_class / 64] |= 1ull << (size_class % 64);
}

void extent_pool::unlink(id which) noexcept {
  const extent& gone = extents_[which];
  if (gone.free_after != 0) extents_[gone.free_after].free_before = gone.free_before;
  if (gone.free_before != 0) {
    extents_[gone.free_before].free_after = gone.free_after;
    return;
  }
  const std::uint32_t size_class = class_of(gone.units);
  heads_[size_class] = gone.free_after;
  if (gone.free_after == 0) filled_[size_class / 64] &= ~(1ull << (size_class % 64));
}

extent_pool::id extent_pool::new_record() noexcept {
  FERRY_CHECK(spare_ != 0);  // make_ready was called and said yes
  const id made = spare_;
  spare_ = extents_[made].free_after;
  --spare_count_;
  return made;
}

void extent_pool::drop_record(id which) noexcept {
  extents_[which] = {};
  extents_[which].free_after = spare_;
  spare_ = which;
  ++spare_count_;
}

}  // namespace ferry
