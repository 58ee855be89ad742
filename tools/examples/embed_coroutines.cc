// A host of coroutines: calls at once, a stream, a timeout and a cancellation, on one thread.
// Usage     embed-coroutines [WORKER]
#include <chrono>
#include <cstdio>
#include <stop_token>

#include "tools/examples/embed_methods.h"

namespace {

using namespace std::chrono_literals;

ferry::task<> sums(ferry::client& host) {
  // Both are under way before the first is awaited.
  const auto [one, other] = co_await ferry::when_all(host.call_task(embed::add, 1, 2),
                                                     host.call_task(embed::add, 20, 22));
  if (one && other) std::printf("1 + 2: %d\n20 + 22: %d\n", *one, *other);
}

ferry::task<> few_primes(ferry::client& host) {
  // Far more than anybody wants: leaving the block gives the rest up, and the worker stops.
  auto primes = host.server_stream(embed::primes, 4'000'000'000u);
  std::printf("the first primes:");
  for (int i = 0; i < 10; ++i) {
    const auto next = co_await primes.next();
    if (!next || !*next) break;
    std::printf(" %u", **next);
  }
  std::printf("\n");
}

ferry::task<> timeout(ferry::client& host) {
  const auto late = co_await host.call_task(embed::slow, {.timeout = 20ms}, 10'000);
  std::printf("after 20 ms: %s\n", late ? "an answer" : late.error().message().c_str());
}

ferry::task<> stop_after(ferry::loop loop, std::chrono::milliseconds time, std::stop_source& stop) {
  co_await loop.sleep_for(time);
  stop.request_stop();
}

ferry::task<> cancellation(ferry::client& host) {
  std::stop_source stop;
  const auto [waited, done] =
      co_await ferry::when_all(host.call_task(embed::slow, {.stop = stop}, 10'000),
                               stop_after(host.loop(), 50ms, stop));
  (void)done;
  std::printf("stopped: %s\n", waited ? "an answer" : waited.error().message().c_str());
}

ferry::task<int> everything(ferry::client& host) {
  co_await sums(host);
  co_await few_primes(host);
  co_await timeout(host);
  co_await cancellation(host);
  // The worker is as good as new.
  const auto sum = co_await host.call_task(embed::add, 1, 1);
  co_return sum&&* sum == 2 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  auto host = ferry::launch({argc > 1 ? argv[1] : "./embed-worker"});
  if (!host) {
    std::fprintf(stderr, "embed-coroutines: %s\n", host.error().message().c_str());
    return 1;
  }
  return host->run(everything(*host));
}
