// What this process uses of the machine, as the kernel measures it.
// Units     bytes resident; CPU time of all threads since the process began.
// Threads   a plain function.
// Errors    system: /proc or the clock cannot be read.
// Source    engine/channel/factory/README.md, "Monitoring".
#pragma once
#include <chrono>
#include <cstdint>

#include "shm/result.h"

namespace ferry {

struct process_usage {
  std::uint64_t memory_bytes = 0;
  std::chrono::nanoseconds cpu_time{0};
};

result<process_usage> measure_process_usage();

}  // namespace ferry
