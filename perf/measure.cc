#include "perf/measure.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "shm/check.h"

namespace ferry::perf {
namespace {

// The CPUs that the process may use, as it was started.
const std::vector<int>& allowed_cpus() {
  static const std::vector<int> cpus = [] {
    cpu_set_t set;
    FERRY_CHECK(::sched_getaffinity(0, sizeof set, &set) == 0);
    std::vector<int> out;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
    }
    return out;
  }();
  return cpus;
}

void pin_to(std::span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  FERRY_CHECK(::sched_setaffinity(0, sizeof set, &set) == 0);
}

void pin(placement where, std::size_t which) {
  const auto& cpus = allowed_cpus();
  switch (where) {
    case placement::two_cores: return pin_to(std::span(cpus).subspan(which, 1));
    case placement::one_core: return pin_to(std::span(cpus).first(1));
    case placement::unpinned: return pin_to(cpus);
  }
}

std::string proc(pid_t pid, const char* file) {
  return pid == 0 ? fmt::format("/proc/self/{}", file) : fmt::format("/proc/{}/{}", pid, file);
}

}  // namespace

const char* name_of(placement where) {
  switch (where) {
    case placement::two_cores: return "two cores pinned";
    case placement::one_core: return "one core";
    case placement::unpinned: return "unpinned";
  }
  return "";
}

bool possible(placement where) {
  return where != placement::two_cores || allowed_cpus().size() >= 2;
}

void pin_client(placement where) { pin(where, 0); }
void pin_peer(placement where) { pin(where, 1); }

double median(std::vector<double> values) { return percentile(values, 0.5); }

double percentile(std::vector<double>& values, double fraction) {
  FERRY_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const double at = fraction * static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(at + 0.5)];
}

std::uint64_t read_all(std::span<const std::byte> bytes) {
  std::uint64_t sums[8] = {};
  std::size_t at = 0;
  for (; at + 64 <= bytes.size(); at += 64) {
    std::uint64_t words[8];
    std::memcpy(words, bytes.data() + at, 64);
    for (int i = 0; i < 8; ++i) sums[i] += words[i];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum += part;
  for (; at < bytes.size(); ++at) sum += std::to_integer<std::uint64_t>(bytes[at]);
  return sum;
}

process_use use_of(pid_t pid) {
  process_use out{};
  std::ifstream status(proc(pid, "status"));
  std::string key;
  while (status >> key) {
    std::uint64_t value = 0;
    if (key == "VmRSS:") {
      status >> value;
      out.rss_bytes = value * 1024;
    } else if (key == "VmHWM:") {
      status >> value;
      out.peak_rss_bytes = value * 1024;
    } else if (key == "voluntary_ctxt_switches:") {
      status >> value;
      out.wakeups = value;
    }
  }
  return out;
}

void reset_peak(pid_t pid) { std::ofstream(proc(pid, "clear_refs")) << "5"; }

}  // namespace ferry::perf
