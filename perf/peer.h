// The worker of the harness, and how a figure starts it: this very program with another argument.
#pragma once
#include <string>

#include "perf/measure.h"
#include "supervisor/launch.h"

namespace ferry::perf {

inline constexpr const char* worker_argument = "--be-the-worker";

inline const method<int(int, int)> add{"add"};
// So many items of so many bytes. Each begins with its number, 8 bytes, and travels in the ring.
inline const method<streamed<body>(std::uint64_t, std::uint32_t)> items{"items"};
// The same in bodies that are borrowed and filled in place, every byte.
inline const method<streamed<body>(std::uint64_t, std::uint32_t)> blocks{"blocks"};
// heap_allocations() of the worker.
inline const method<std::uint64_t()> allocations_there{"allocations_there"};

// main() of the worker: functions `echo`, `touch` (reads every byte, echoes), `read` (reads every
// byte, answers 8), `none` (answers nothing), and those below.
int worker_main(std::string_view wait);

// A worker placed and waiting as told; the client waits the same way, and is placed too.
launched start_worker(placement where, wait_mode wait, client_options options = {});

const char* name_of(wait_mode wait);

}  // namespace ferry::perf
