// Which parts of some regions are free: an allocator that never touches the memory it hands out.
// Layout    regions are runs of units; every unit belongs to exactly one extent, free or taken. The
//           extents of a region are linked in address order, the free ones also by size class
//           (sixteen classes between a power of two and the next). Free neighbours are always one.
// Units     units, whatever the caller makes of one; up to 2^32 - 1 in a region.
// Threads   none: the caller locks.
// Progress  take looks at 8 extents of its own class and a bitmap of 464 bits; give is constant.
// Lifetime  an extent's id is valid until it is given back or its region removed; ids are reused.
// Errors    0 for "none fits". A wrong id is a bug of ours: the caller checks with is_taken.
// Source    shm/README.md, "Why this allocator".
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ferry {

class extent_pool {
 public:
  using id = std::uint32_t;  // 0 = none
  struct extent {
    std::uint32_t region = 0;
    std::uint32_t start = 0;  // units from the region's begin
    std::uint32_t units = 0;
    id before = 0, after = 0;  // neighbours in the region
    id free_before = 0, free_after = 0;
    enum state : std::uint32_t { spare, free, taken } is = spare;
  };

  extent_pool();

  // Makes sure that the next take and add_region find room for their records. False: the heap has
  // none.
  bool make_ready() noexcept;

  // A new region, wholly free. Its first extent keeps its id for as long as the region lives.
  id add_region(std::uint32_t region, std::uint32_t units) noexcept;
  // Forgets a region that is wholly free.
  void remove_region(id first) noexcept;

  // An extent of at least `units` (> 0), from the front of the best of the free ones it looks at.
  // `thorough` looks at more before it says no: for when the alternative is dear.
  id take(std::uint32_t units, bool thorough = false) noexcept;
  void give(id taken) noexcept;

  const extent& operator[](id which) const noexcept { return extents_[which]; }
  bool is_taken(id which) const noexcept {
    return which < extents_.size() && extents_[which].is == extent::taken;
  }

 private:
  static constexpr std::size_t class_count = 29 * 16;
  static std::uint32_t class_of(std::uint32_t units) noexcept;
  id fitting(std::uint32_t units, std::uint32_t looks) const noexcept;
  id larger_than(std::uint32_t size_class) const noexcept;
  void link(id which) noexcept;
  void unlink(id which) noexcept;
  id new_record() noexcept;
  void drop_record(id which) noexcept;

  std::vector<extent> extents_;  // [0] stands for "none"
  id spare_ = 0;                 // records in no region, linked by free_after
  std::size_t spare_count_ = 0;
  std::array<id, class_count> heads_{};  // last freed first: it is the warmest in the cache
  std::array<std::uint64_t, (class_count + 63) / 64> filled_{};  // which heads_ are not 0
};

}  // namespace ferry
