// Round trips of 64 bytes: the whole engine beside the bare ring, and asleep beside bare wakeups.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "perf/bare.h"
#include "perf/figures.h"
#include "perf/latency.h"

namespace ferry::perf {
namespace {

figure spinning(const effort& how) {
  std::vector<double> engine, bare, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    bare.push_back(bare_ring_rtt_us(placement::two_cores, 64, how.run_for));
    engine.push_back(call_rtt_us(placement::two_cores, wait_mode::spin, {}, how.run_for).p50);
    ratios.push_back(engine.back() / bare.back());
  }
  constexpr double most = 1.6, below_us = 1.0;
  const double ratio = median(ratios), us = median(engine);
  return {"call of 64 B, spin, two cores pinned",           fmt::format("p50 {:.3f} us", us),
          fmt::format("bare ring {:.3f} us", median(bare)), fmt::format("{:.2f} x", ratio),
          fmt::format("<= {} x, < {} us", most, below_us),  ratio <= most && us < below_us};
}

figure sleeping(const effort& how, placement where) {
  std::vector<double> engine, futex, eventfd, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    futex.push_back(bare_futex_rtt_us(where, how.run_for));
    engine.push_back(call_rtt_us(where, wait_mode::block, {}, how.run_for).p50);
    eventfd.push_back(bare_eventfd_rtt_us(where, how.run_for));

    // Against the futex, which is what the engine sleeps on; the eventfd is there to compare.
    ratios.push_back(engine.back() / futex.back());
  }
  constexpr double most = 1.2;
  const double ratio = median(ratios);
  return {fmt::format("call of 64 B, block, {}", name_of(where)),
          fmt::format("p50 {:.2f} us", median(engine)),
          fmt::format("futex {:.2f} us, eventfd {:.2f} us", median(futex), median(eventfd)),
          fmt::format("{:.2f} x futex", ratio),
          fmt::format("<= {} x", most),
          ratio <= most};
}

}  // namespace

std::vector<figure> round_trips(const effort& how) {
  std::vector<figure> out;
  if (possible(placement::two_cores)) {
    out.push_back(spinning(how));
    out.push_back(sleeping(how, placement::two_cores));
  }
  out.push_back(sleeping(how, placement::one_core));
  return out;
}

}  // namespace ferry::perf
