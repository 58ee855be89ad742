// Many calls in flight, large bodies that are read, and bodies that are only handed over.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "perf/bare.h"
#include "perf/figures.h"
#include "perf/peer.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

constexpr int depth = 256;

// Calls a second of 1 KB each way, every byte read by both sides, `depth` in flight.
double call_rate(clock::duration run_for) {
  client_options options;
  options.max_calls = 1024;
  launched host = start_worker(placement::two_cores, wait_mode::adaptive, options);
  const auto touch = host.function("touch");
  FERRY_CHECK(touch);
  std::array<std::byte, 1024> argument{};
  std::uint64_t sent = 0, done = 0, sum = 0;
  const auto begin = clock::now();
  auto now = begin;
  while (now - begin < run_for) {
    for (int turn = 0; turn < 16; ++turn) {
      while (sent - done < depth) {
        FERRY_CHECK(host.call_async(*touch, argument, [&](call_result&& answer) {
          FERRY_CHECK(answer);
          sum += read_all(answer->bytes());
          ++done;
        }));
        ++sent;
      }
      FERRY_CHECK(host.run_once(std::chrono::seconds(1)));
    }
    now = clock::now();
  }
  const std::uint64_t in_time = done;
  while (done < sent) FERRY_CHECK(host.run_once(std::chrono::seconds(1)));
  pin_client(placement::unpinned);
  asm volatile("" ::"r"(sum));
  return static_cast<double>(in_time) / (microseconds(now - begin) / 1e6);
}

// Bytes a second that the worker reads of 10 MB bodies, one call after another. All lie in the same
// memory, filled once, as the limit's mapping does.
double body_rate(std::size_t body_bytes, clock::duration run_for) {
  launched host = start_worker(placement::two_cores, wait_mode::adaptive);
  const auto read = host.function("read");
  FERRY_CHECK(read);
  const auto round = [&](bool fill) {
    auto argument = host.loan(body_bytes);
    FERRY_CHECK(argument);
    if (fill) std::memset(argument->data(), 1, body_bytes);
    const auto answer = host.call(*read, std::move(*argument));
    FERRY_CHECK(answer && answer->size() == 8);
  };
  for (int i = 0; i < 8; ++i) round(true);
  std::uint64_t rounds = 0;
  const auto begin = clock::now();
  auto now = begin;
  for (; now - begin < run_for; now = clock::now(), ++rounds) round(false);
  pin_client(placement::unpinned);
  return static_cast<double>(rounds * body_bytes) / (microseconds(now - begin) / 1e6);
}

}  // namespace

std::vector<figure> throughput(const effort& how) {
  std::vector<figure> out;
  if (!possible(placement::two_cores)) return out;
  std::vector<double> engine, bare, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    bare.push_back(bare_ring_rate(placement::two_cores, 1024, depth, how.run_for));
    engine.push_back(call_rate(how.run_for));
    ratios.push_back(engine.back() / bare.back());
  }
  constexpr double least = 0.5, least_rate = 2e6;
  const double ratio = median(ratios), rate = median(engine);
  out.push_back({fmt::format("calls of 1 KB, {} in flight, all bytes read, two cores", depth),
                 fmt::format("{:.2f} M/s", rate / 1e6),
                 fmt::format("bare ring {:.2f} M/s", median(bare) / 1e6),
                 fmt::format("{:.2f} x", ratio),
                 fmt::format(">= {} x, > {:.0f} M/s", least, least_rate / 1e6),
                 ratio >= least && rate > least_rate});

  constexpr std::size_t body_bytes = 10'000'000;
  std::vector<double> read, limit, shares;
  for (int i = 0; i < how.repeats; ++i) {
    limit.push_back(bare_read_rate(body_bytes, how.run_for));
    read.push_back(body_rate(body_bytes, how.run_for));
    shares.push_back(read.back() / limit.back());
  }
  constexpr double least_share = 0.9;
  out.push_back({"bodies of 10 MB, the worker reads every byte, two cores",
                 fmt::format("{:.1f} GB/s", median(read) / 1e9),
                 fmt::format("one process reading {:.1f} GB/s", median(limit) / 1e9),
                 fmt::format("{:.2f} x", median(shares)), fmt::format(">= {} x", least_share),
                 median(shares) >= least_share});
  return out;
}

std::vector<figure> handing_over(const effort& how) {
  constexpr std::array<std::size_t, 4> sizes{64 << 10, 1 << 20, 16 << 20, 1 << 30};
  std::vector<figure> out;
  if (!possible(placement::two_cores)) return out;
  std::array<std::vector<double>, sizes.size()> medians;
  for (int i = 0; i < how.repeats; ++i) {
    for (std::size_t size = 0; size < sizes.size(); ++size) {
      launched host = start_worker(placement::two_cores, wait_mode::spin);
      const auto none = host.function("none");
      FERRY_CHECK(none);
      std::vector<double> samples;
      constexpr int warm_up = 20;  // makes and maps the memory that all later calls use again
      auto end = clock::now();
      for (int round = 0; round <= warm_up + 10 || clock::now() < end; ++round) {
        if (round == warm_up) end = clock::now() + how.run_for;
        auto argument = host.loan(sizes[size]);
        if (!argument) {
          out.push_back({"handing over an untouched body", "not measured",
                         argument.error().message(), "", "same time within 20 %", false});
          return out;
        }
        const auto before = clock::now();
        FERRY_CHECK(host.call(*none, std::move(*argument)));
        if (round > warm_up) samples.push_back(microseconds(clock::now() - before));
      }
      medians[size].push_back(percentile(samples, 0.5));
      pin_client(placement::unpinned);
    }
  }
  std::vector<double> all;
  std::string measured;
  constexpr std::array<const char*, sizes.size()> names{"64 KB", "1 MB", "16 MB", "1 GiB"};
  for (std::size_t size = 0; size < sizes.size(); ++size) {
    all.push_back(median(medians[size]));
    measured += fmt::format("{}{} {:.2f}", size == 0 ? "" : ", ", names[size], all.back());
  }
  const double spread = *std::ranges::max_element(all) / *std::ranges::min_element(all);
  constexpr double most = 1.2;
  out.push_back({"handing over an untouched body, spin, two cores", measured + " us", "",
                 fmt::format("{:.2f} x", spread), "same time within 20 %", spread <= most});
  return out;
}

}  // namespace ferry::perf
