// The adaptive waiting policy against the better of spin and block, wherever the two processes run.
#include <fmt/format.h>

#include <algorithm>

#include "perf/figures.h"
#include "perf/latency.h"

namespace ferry::perf {
namespace {

figure adaptive(const effort& how, placement where, clock::duration gap, const char* pace) {
  std::vector<double> spin, block, adaptive, ratios, p99;
  for (int i = 0; i < how.repeats; ++i) {
    spin.push_back(call_rtt_us(where, wait_mode::spin, gap, how.run_for).p50);
    const latency mine = call_rtt_us(where, wait_mode::adaptive, gap, how.run_for);
    block.push_back(call_rtt_us(where, wait_mode::block, gap, how.run_for).p50);
    adaptive.push_back(mine.p50);
    p99.push_back(mine.p99);
    ratios.push_back(mine.p50 / std::min(spin.back(), block.back()));
  }
  constexpr double most = 1.2;
  const double ratio = median(ratios);
  return {fmt::format("call of 64 B, adaptive, {}, {}", name_of(where), pace),
          fmt::format("p50 {:.2f} us, p99 {:.1f}", median(adaptive), median(p99)),
          fmt::format("spin {:.2f} us, block {:.2f} us", median(spin), median(block)),
          fmt::format("{:.2f} x the better", ratio),
          fmt::format("<= {} x", most),
          ratio <= most};
}

}  // namespace

std::vector<figure> waiting_policies(const effort& how) {
  constexpr auto no_gap = clock::duration::zero();
  constexpr auto gap = std::chrono::microseconds(100);
  std::vector<figure> out;
  for (const placement where : {placement::two_cores, placement::one_core, placement::unpinned}) {
    if (!possible(where)) continue;
    out.push_back(adaptive(how, where, no_gap, "back to back"));
    out.push_back(adaptive(how, where, gap, "10,000/s"));
  }
  return out;
}

}  // namespace ferry::perf
