// What the race tests share: threads that take turns without ordering anything.
//
// The thread sanitizer reports a race when two accesses have no happens-before edge between them,
// whatever the timing was. So a scripted test makes two threads meet in a fixed order through
// `turns`, whose relaxed word gives no edge: the only edges left are those of the ring under test,
// and a weakened one is reported every time. All sides share one mapping, for the sanitizer knows
// bytes by their address.
#pragma once
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "ring/atomics.h"

namespace ferry {

// Looks until `done()` holds; gives up loudly after 60 s. Orders nothing by itself.
template <class Done>
void await(Done done) {
  using clock = std::chrono::steady_clock;
  const auto deadline = clock::now() + std::chrono::seconds(60);
  for (int looks = 1; !done(); ++looks) {
    if (looks % 64 != 0) {
      cpu_pause();
      continue;
    }
    std::this_thread::yield();
    if (clock::now() > deadline) {
      std::fprintf(stderr, "gave up waiting after 60 s\n");
      std::abort();
    }
  }
}

class turns {  // whose turn it is, and no happens-before edge
 public:
  void wait_for(int turn) {
    await([&] { return now_.load(std::memory_order_relaxed) >= turn; });
  }
  void pass_to(int turn) { now_.store(turn, std::memory_order_relaxed); }

 private:
  std::atomic<int> now_{0};
};

struct alignas(cache_line_bytes) ring_line {
  std::byte bytes[cache_line_bytes];
};

inline std::uint64_t printed_seed() {
  const char* given = std::getenv("FERRY_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  std::printf("FERRY_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace ferry
