// The machine's own limits, measured by the same harness in the same run as what they bound: the
// ring alone, a futex, an eventfd, one process reading memory. Two processes, forked here.
// Units     round trips in microseconds; rates per second.
#pragma once
#include <cstddef>

#include "perf/measure.h"

namespace ferry::perf {

// p50 of a record ring ping-pong, both sides spinning, bodies of `body_bytes` copied in and out.
double bare_ring_rtt_us(placement where, std::size_t body_bytes, clock::duration run_for);
// Round trips a second with `depth` under way; both sides read every byte of every body.
double bare_ring_rate(placement where, std::size_t body_bytes, int depth, clock::duration run_for);
// p50 of a ping-pong whose two sides sleep on a futex, or in a read of an eventfd.
double bare_futex_rtt_us(placement where, clock::duration run_for);
double bare_eventfd_rtt_us(placement where, clock::duration run_for);
// Bytes a second of one process that reads a mapping of `size_bytes` again and again.
double bare_read_rate(std::size_t size_bytes, clock::duration run_for);

}  // namespace ferry::perf
