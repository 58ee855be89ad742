// What every figure needs: time, percentiles, placement, resource use of a process.
// Units     microseconds for latencies, bytes for memory; names say so.
// Threads   plain functions.  Errors  of placement and /proc: FERRY_CHECK, a harness has no plan B.
#pragma once
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ferry::perf {

using clock = std::chrono::steady_clock;

enum class placement { two_cores, one_core, unpinned };
const char* name_of(placement where);
bool possible(placement where);  // two_cores needs two
// Pins the calling thread: the client to the first allowed CPU, the peer to the second (two_cores).
void pin_client(placement where);
void pin_peer(placement where);

double median(std::vector<double> values);
double percentile(std::vector<double>& values, double fraction);  // sorts

inline double microseconds(clock::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

// The sum of all bytes as 64-bit words: reads every byte, as fast as memory gives them.
std::uint64_t read_all(std::span<const std::byte> bytes);

struct process_use {
  std::uint64_t rss_bytes;
  std::uint64_t peak_rss_bytes;  // since start, or since reset_peak
  std::uint64_t wakeups;         // voluntary context switches of all threads
};
process_use use_of(pid_t pid);  // pid 0: this process
void reset_peak(pid_t pid);

}  // namespace ferry::perf
