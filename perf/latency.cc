#include "perf/latency.h"

#include <array>
#include <ctime>

#include "shm/check.h"

namespace ferry::perf {
namespace {

void sleep_until(clock::time_point when) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch());
  const timespec at{static_cast<time_t>(ns.count() / 1'000'000'000), ns.count() % 1'000'000'000};
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace

latency call_rtt_us(placement where, wait_mode wait, clock::duration gap, clock::duration run_for) {
  launched host = start_worker(where, wait);
  const auto echo = host.function("echo");
  FERRY_CHECK(echo);
  std::array<std::byte, 64> argument{};
  const auto call = [&] {
    const auto answer = host.call(*echo, argument);
    FERRY_CHECK(answer && answer->size() == argument.size());
  };
  // A spinner that shares its core with its peer needs a whole time slice a call: few are enough.
  const auto warm_until = clock::now() + run_for / 4;
  for (int i = 0; i < 2000 && clock::now() < warm_until; ++i) call();

  std::vector<double> samples;
  samples.reserve(1 << 20);
  const auto end = clock::now() + run_for;
  auto next = clock::now();
  while (clock::now() < end && samples.size() < samples.capacity()) {
    if (gap != gap.zero()) {
      next = std::max(next + gap, clock::now());
      sleep_until(next);
    }
    const auto before = clock::now();
    call();
    samples.push_back(microseconds(clock::now() - before));
  }
  pin_client(placement::unpinned);
  latency out{};
  out.calls = samples.size();
  out.p50 = percentile(samples, 0.5);
  out.p99 = percentile(samples, 0.99);
  return out;
}

}  // namespace ferry::perf
