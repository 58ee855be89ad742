// The worker of the harness (worker.cc), and how a figure starts it.
#pragma once
#include <string>

#include "perf/measure.h"
#include "supervisor/launch.h"

namespace ferry::perf {

inline const method<int(int, int)> add{"add"};
// So many items of so many bytes. Each begins with its number, 8 bytes, and travels in the ring.
inline const method<streamed<body>(std::uint64_t, std::uint32_t)> items{"items"};
// The same in bodies that are borrowed and filled in place, every byte.
inline const method<streamed<body>(std::uint64_t, std::uint32_t)> blocks{"blocks"};
// heap_allocations() of the worker.
inline const method<std::uint64_t()> allocations_there{"allocations_there"};

// By number: `echo`, `touch` (reads every byte, echoes), `read` (reads every byte, answers 8),
// `none` (answers nothing).

// A worker placed and waiting as told; the client waits the same way, and is placed too.
launched start_worker(placement where, wait_mode wait, client_options options = {});

const char* name_of(wait_mode wait);

}  // namespace ferry::perf
