// Round-trip times of calls through the whole engine.
#pragma once
#include "perf/peer.h"

namespace ferry::perf {

struct latency {
  double p50;
  double p99;
  std::size_t calls;
};

// Calls `echo` with 64 bytes again and again; with a gap, one call every `gap`, sleeping in
// between. A new worker for each measurement, placed as told.
latency call_rtt_us(placement where, wait_mode wait, clock::duration gap, clock::duration run_for);

}  // namespace ferry::perf
