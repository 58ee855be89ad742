// What a worker costs when nothing happens, and when a lot of memory passes through it.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "perf/figures.h"
#include "perf/heap_count.h"
#include "perf/peer.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

constexpr double mb = 1e6;

figure idle() {
  launched host = start_worker(placement::unpinned, wait_mode::adaptive);
  const std::array<std::byte, 64> argument{};
  FERRY_CHECK(host.call("echo", argument));
  // Past the spin, the bell and the idle time of the arena.
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const process_use before = use_of(host.pid());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const process_use after = use_of(host.pid());
  const std::uint64_t wakeups = after.wakeups - before.wakeups;
  return {"idle worker",
          fmt::format("{:.1f} MB RSS, {} wakeups in 2 s", static_cast<double>(after.rss_bytes) / mb,
                      wakeups),
          "",
          "",
          "< 5 MB, 0 wakeups",
          static_cast<double>(after.rss_bytes) < 5 * mb && wakeups == 0};
}

figure a_gigabyte() {
  launched host = start_worker(placement::unpinned, wait_mode::adaptive);
  constexpr std::size_t body_bytes = 10'000'000;
  reset_peak(0);
  reset_peak(host.pid());
  for (std::size_t sent = 0; sent < (std::size_t{1} << 30); sent += body_bytes) {
    auto argument = host.loan(body_bytes);
    FERRY_CHECK(argument);
    std::memset(argument->data(), static_cast<int>(sent & 0xff), body_bytes);
    FERRY_CHECK(host.call("read", std::move(*argument)));
  }
  const auto host_peak = static_cast<double>(use_of(0).peak_rss_bytes);
  const auto worker_peak = static_cast<double>(use_of(host.pid()).peak_rss_bytes);
  return {
      "1 GiB through a worker in 10 MB bodies",
      fmt::format("peak RSS host {:.1f} MB, worker {:.1f} MB", host_peak / mb, worker_peak / mb),
      "",
      "",
      "< 50 MB on either side",
      host_peak < 50 * mb && worker_peak < 50 * mb};
}

figure allocations() {
  launched host = start_worker(placement::unpinned, wait_mode::adaptive);
  const auto echo = host.function("echo");
  FERRY_CHECK(echo);
  std::array<std::byte, 1024> argument{};
  const auto call = [&] { FERRY_CHECK(host.call(*echo, argument)); };
  for (int i = 0; i < 1000; ++i) call();
  const std::uint64_t before = heap_allocations();
  constexpr int calls = 10'000;
  for (int i = 0; i < calls; ++i) call();
  const std::uint64_t made = heap_allocations() - before;
  return {"heap allocations of a unary call, caller's side",
          fmt::format("{} in {} calls", made, calls),
          "",
          "",
          "0",
          made == 0};
}

}  // namespace

std::vector<figure> footprint(const effort&) { return {idle(), a_gigabyte(), allocations()}; }

}  // namespace ferry::perf
