// Where a process's bodies live: memory segments that grow on demand and are given up when idle.
// Layout    bodies only, each at a multiple of 64 bytes; nothing about them is in shared memory, so
//           there is nothing that a peer could read or break.
// Units     bytes. Segment ids count up from 1 and are never used twice.
// Threads   any thread may call anything. One private mutex; the callbacks run under it and must
// not
//           call the arena. A new segment's pages are taken under it too (about 0.4 s per GiB).
// Lifetime  a block's memory stays until free(); segments die with the arena, blocks or not.
// Errors    no_memory: "body quota" with what is left of it, or what own_segment::create says.
//           limit, refused, system: as own_segment::create.  Everything that announce gives.
//           Freeing a block twice, or one of another arena, is a bug of ours: CHECK aborts.
// Source    shm/README.md, "Why this allocator".
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "shm/extent_pool.h"
#include "shm/result.h"
#include "shm/segment.h"

namespace ferry {

struct arena_options {
  std::uint64_t quota_bytes = 4ull << 30;        // of all segments together; at most 256 GiB
  std::uint64_t first_segment_bytes = 4u << 20;  // the second is twice that, and so on to 64 MiB
  std::chrono::nanoseconds idle_before_shrink = std::chrono::seconds(1);
};

struct arena_block {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;      // bytes from the segment's begin, a multiple of 64
  std::uint64_t size_bytes = 0;  // as asked for
  std::byte* data = nullptr;     // never null in a block that allocate gave, even of 0 bytes
  std::uint32_t handle = 0;      // the arena's own: travels with the block, means nothing to others
};

struct arena_stats {
  std::size_t segments = 0;
  std::uint64_t reserved_bytes = 0;   // size of all segments
  std::uint64_t allocated_bytes = 0;  // of these, in blocks (rounded up to 64 bytes each)
  std::size_t allocated_blocks = 0;
  std::uint64_t high_water_bytes = 0;  // the most that allocated_bytes ever was
};

class body_arena {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  // Called after a segment is sealed and before any block of it is handed out. A failure undoes the
  // segment (its id stays used) and fails the allocation.
  using announce_fn = std::function<result<void>(std::uint32_t id, const own_segment&)>;
  // Called when a wholly free segment is about to be unmapped. A failure keeps the segment.
  using retire_fn = std::function<result<void>(std::uint32_t id)>;

  body_arena(arena_options options, announce_fn announce, retire_fn retire);
  body_arena(const body_arena&) = delete;
  body_arena& operator=(const body_arena&) = delete;

  // A block of any size, contents arbitrary. Up to 64 MiB its pages are mapped ahead. Before it
  // fails for lack of quota or memory, segments that are wholly free are retired.
  result<arena_block> allocate(std::uint64_t size_bytes);
  void free(const arena_block& block) noexcept;  // any order

  // Retires the segments that have been wholly free for idle_before_shrink, or `all` wholly free
  // ones; gives back how many bytes that was.
  std::size_t trim(time_point now, bool all);
  // When trim will next have something to do; nullopt: nothing is wholly free.
  std::optional<time_point> next_shrink() const;

  arena_stats stats() const;

 private:
  struct segment_slot {
    std::uint32_t id = 0;  // 0 = this slot is unused
    std::optional<own_segment> memory;
    extent_pool::id first_extent = 0;
    std::size_t live_blocks = 0;
    time_point free_since;                 // valid while live_blocks is 0
    std::vector<std::uint64_t> populated;  // a bit per populate_step: its pages were mapped ahead
  };
  struct byte_range {
    std::size_t offset = 0;
    std::size_t size_bytes = 0;
  };

  result<void> grow(std::uint64_t size_bytes, std::uint64_t needed_bytes);
  result<own_segment> make_segment(std::uint64_t needed_bytes);
  std::size_t retire_idle(time_point now, bool all);
  static byte_range claim_unpopulated(segment_slot& slot, std::size_t offset, std::size_t size);

  const arena_options options_;
  const announce_fn announce_;
  const retire_fn retire_;

  mutable std::mutex mutex_;  // guards everything below
  extent_pool extents_;       // a region is an index into slots_
  std::vector<segment_slot> slots_;
  std::uint32_t last_id_ = 0;
  std::size_t idle_segments_ = 0;  // wholly free ones
  arena_stats stats_;
};

}  // namespace ferry
