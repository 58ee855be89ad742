// Items a second, what an idle timeout costs them, and memory when the reader is slow.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "perf/figures.h"
#include "perf/peer.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

constexpr placement where = placement::two_cores;
constexpr auto no_limit = std::chrono::nanoseconds::max();
constexpr std::uint64_t endless = std::uint64_t{1} << 40;  // items, cancelled after the measurement

std::uint64_t number_of(const body& item) {
  std::uint64_t number = 0;
  FERRY_CHECK(item.size() >= sizeof number);
  std::memcpy(&number, item.data(), sizeof number);
  return number;
}

// Items a second of one stream, read one by one, in order, every byte of those above 64.
double item_rate(client& host, std::uint32_t size, std::chrono::nanoseconds idle,
                 clock::duration run_for) {
  auto incoming = host.server_stream(items, {.idle_timeout = idle}, endless, size);
  std::uint64_t count = 0, sum = 0;
  const auto read = [&](int how_many) {
    for (int i = 0; i < how_many; ++i) {
      const auto item = incoming.read();
      FERRY_CHECK(item && *item && (*item)->size() == size && number_of(**item) == count);
      if (size > 64) sum += read_all((*item)->bytes());
      ++count;
    }
  };
  read(10'000);  // the window is open, the memory touched
  const std::uint64_t first = count;
  const auto begin = clock::now();
  auto now = begin;
  for (; now - begin < run_for; now = clock::now()) read(1000);
  asm volatile("" ::"r"(sum));
  incoming.cancel();
  FERRY_CHECK(host.ping());  // what was on its way has passed
  return static_cast<double>(count - first) / (microseconds(now - begin) / 1e6);
}

figure rate(const effort& how, std::uint32_t size, const char* what, double least) {
  std::vector<double> rates;
  for (int i = 0; i < how.repeats; ++i) {
    launched host = start_worker(where, wait_mode::adaptive);
    rates.push_back(item_rate(host, size, std::chrono::seconds(3), how.run_for));
    pin_client(placement::unpinned);
  }
  const auto [low, high] = std::ranges::minmax(rates);
  return {fmt::format("stream of {}, read(), {}", what, name_of(where)),
          fmt::format("{:.2f} M items/s ({:.2f} to {:.2f})", median(rates) / 1e6, low / 1e6,
                      high / 1e6),
          "",
          "",
          fmt::format(">= {:.0f} M/s", least / 1e6),
          median(rates) >= least};
}

// Pairs with and without, in turn and in changing order, so that what drifts hits both.
figure idle_timeout(const effort& how) {
  const int pairs = 8 * how.repeats;
  const auto each = std::max<clock::duration>(how.run_for / 4, std::chrono::milliseconds(10));
  std::vector<double> with, without, ratios;
  launched host = start_worker(where, wait_mode::adaptive);
  for (int i = 0; i < pairs; ++i) {
    double one = 0, other = 0;
    if (i % 2 == 0) one = item_rate(host, 64, std::chrono::seconds(3), each);
    other = item_rate(host, 64, no_limit, each);
    if (i % 2 != 0) one = item_rate(host, 64, std::chrono::seconds(3), each);
    with.push_back(one);
    without.push_back(other);
    ratios.push_back(one / other);
  }
  pin_client(placement::unpinned);
  constexpr double least = 0.97;
  const double ratio = median(ratios);
  return {fmt::format("the same with an idle timeout of 3 s, {} pairs", pairs),
          fmt::format("{:.2f} M items/s", median(with) / 1e6),
          fmt::format("without {:.2f} M/s", median(without) / 1e6),
          fmt::format("{:.3f} x", ratio),
          fmt::format(">= {} x", least),
          ratio >= least};
}

figure slow_reader(const effort& how) {
  constexpr std::uint32_t size = 1 << 20;
  // A short run measures the same with less.
  const std::uint64_t count = how.run_for >= std::chrono::milliseconds(300)   ? 10 << 10
                              : how.run_for >= std::chrono::milliseconds(100) ? 1 << 10
                                                                              : 100;
  launched host = start_worker(placement::unpinned, wait_mode::adaptive);
  reset_peak(0);
  reset_peak(host.pid());
  auto incoming = host.server_stream(blocks, count, size);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto item = incoming.read();
    FERRY_CHECK(item && *item && (*item)->size() == size && number_of(**item) == i);
    sum += read_all((*item)->bytes());
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  asm volatile("" ::"r"(sum));
  const auto end = incoming.read();
  FERRY_CHECK(end && !*end);
  constexpr double mb = 1e6, most = 50 * mb;
  const auto here = static_cast<double>(use_of(0).peak_rss_bytes);
  const auto there = static_cast<double>(use_of(host.pid()).peak_rss_bytes);
  return {fmt::format("{} MiB in items of 1 MiB, the reader sleeps 1 ms after each, {}", count,
                      name_of(placement::unpinned)),
          fmt::format("peak RSS host {:.1f} MB, worker {:.1f} MB", here / mb, there / mb),
          "",
          "",
          "< 50 MB on either side",
          here < most && there < most};
}

}  // namespace

std::vector<figure> streams(const effort& how) {
  std::vector<figure> out;
  if (possible(where)) {
    out.push_back(rate(how, 64, "64 B items", 5e6));
    out.push_back(idle_timeout(how));
    out.push_back(rate(how, 1024, "1 KB items, all bytes read", 2e6));
  }
  out.push_back(slow_reader(how));
  return out;
}

}  // namespace ferry::perf
