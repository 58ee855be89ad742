// How many bytes this process can still take before the memory cgroup kills it.
// Units     bytes.
// Threads   a plain function; reads a handful of small kernel files (some 70 us).
// Errors    none: a file that is missing or unreadable sets no bound.
// Limits    advice, not a reservation: others in the cgroup take memory meanwhile, hence the
// reserve. Source    shm/README.md, "Memory that may be taken".
#pragma once
#include <cstdint>

namespace ferry {

// Left untouched by own_segment::create: page tables, stacks and the heap need room as well.
inline constexpr std::uint64_t headroom_reserve_bytes = 8u << 20;

struct memory_headroom {
  std::uint64_t bytes = UINT64_MAX;         // UINT64_MAX: nothing bounds it
  const char* named_by = "no limit found";  // string literal: the bound that was the lowest
};

// The lowest of: every memory cgroup from ours up to the root (version 2, version 1 or both), and
// what the machine has available. In a cgroup, inactive file cache counts as free: the kernel drops
// it before it kills. The paths are parameters for tests.
memory_headroom read_headroom(const char* proc_self_cgroup = "/proc/self/cgroup",
                              const char* cgroup_root = "/sys/fs/cgroup",
                              const char* proc_meminfo = "/proc/meminfo");

}  // namespace ferry
