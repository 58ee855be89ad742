// Many threads on one client, and many sessions that do nothing.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <thread>

#include "perf/figures.h"
#include "perf/peer.h"
#include "shm/check.h"
#include "shm/socket.h"
#include "worker/worker.h"

namespace ferry::perf {
namespace {

constexpr int many_threads = 64;
constexpr int in_flight_each = 16;
constexpr auto soon = std::chrono::milliseconds(100);

double per_second(std::uint64_t count, clock::duration time) {
  return static_cast<double>(count) / (microseconds(time) / 1e6);
}

// Calls a second of `threads` threads that each do `work(stop, done)` until told to stop.
template <class Work>
double rate_of(int threads, clock::duration run_for, Work&& work) {
  std::atomic<bool> stop{false};
  struct alignas(128) counter {
    std::atomic<std::uint64_t> value{0};
  };
  std::vector<counter> done(static_cast<std::size_t>(threads));
  const auto sum = [&] {
    std::uint64_t out = 0;
    for (const counter& each : done) out += each.value.load(std::memory_order_relaxed);
    return out;
  };
  std::vector<std::jthread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] { work(stop, done[static_cast<std::size_t>(i)].value); });
  }
  std::this_thread::sleep_for(run_for / 4);
  const std::uint64_t before = sum();
  const auto begin = clock::now();
  std::this_thread::sleep_for(run_for);
  const std::uint64_t count = sum() - before;
  const auto time = clock::now() - begin;
  stop.store(true);
  running.clear();
  return per_second(count, time);
}

// One blocking call after another.
double blocking_rate(client& host, function_id echo, int threads, clock::duration run_for) {
  return rate_of(threads, run_for, [&](const auto& stop, auto& done) {
    const std::array<std::byte, 64> argument{};
    while (!stop.load(std::memory_order_relaxed)) {
      const auto answer = host.call(echo, argument);
      FERRY_CHECK(answer && answer->size() == 64);
      done.fetch_add(1, std::memory_order_relaxed);
    }
  });
}

// Each thread keeps `depth` calls under way and drives when nobody else does.
double pipelined_rate(client& host, function_id echo, int threads, std::uint64_t depth,
                      clock::duration run_for) {
  return rate_of(threads, run_for, [&](const auto& stop, auto& done) {
    const std::array<std::byte, 64> argument{};
    std::uint64_t sent = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      while (sent - done.load(std::memory_order_relaxed) < depth) {
        FERRY_CHECK(host.call_async(echo, argument, [&](call_result&& answer) {
          FERRY_CHECK(answer && answer->size() == 64);
          done.fetch_add(1, std::memory_order_relaxed);
        }));
        ++sent;
      }
      FERRY_CHECK(host.run_once(soon));
    }
    while (done.load(std::memory_order_relaxed) < sent) FERRY_CHECK(host.run_once(soon));
  });
}

template <class Many, class One>
figure threads_against_one(const effort& how, placement where, const char* what, const char* beside,
                           Many&& many, One&& one) {
  std::vector<double> rates, alone, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    client_options options;
    options.max_calls = 2 * many_threads * in_flight_each;
    launched host = start_worker(where, wait_mode::adaptive, options);
    const auto echo = host.function("echo");
    FERRY_CHECK(echo);
    alone.push_back(one(host, *echo));
    rates.push_back(many(host, *echo));
    ratios.push_back(rates.back() / alone.back());
    pin_client(placement::unpinned);
  }
  constexpr double least = 0.5;
  const double ratio = median(ratios);
  return {fmt::format("{} threads on one client, {}, {}", many_threads, what, name_of(where)),
          fmt::format("{:.2f} M calls/s", median(rates) / 1e6),
          fmt::format("{} {:.2f} M/s", beside, median(alone) / 1e6),
          fmt::format("{:.2f} x", ratio),
          fmt::format(">= {} x", least),
          ratio >= least};
}

// --- idle sessions ------------------------------------------------------------------------------

// What a process has used so far, without a look at /proc that would cost more than what it is for.
std::chrono::nanoseconds cpu_time_of(pid_t pid) {
  clockid_t id = CLOCK_PROCESS_CPUTIME_ID;
  timespec used{};
  FERRY_CHECK(pid == 0 || ::clock_getcpuclockid(pid, &id) == 0);
  FERRY_CHECK(::clock_gettime(id, &used) == 0);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

std::size_t descriptors_of(pid_t pid) {
  const std::filesystem::directory_iterator files(pid == 0 ? "/proc/self/fd"
                                                           : fmt::format("/proc/{}/fd", pid));
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

// One worker that serves them all, until they have ended.
void serve_all(std::vector<unique_fd> sockets) {
  worker w;
  w.function(add, [](int a, int b) { return a + b; });
  for (unique_fd& each : sockets) {
    if (const auto opened = w.open(std::move(each)); !opened) {
      fmt::print(stderr, "ferry-perf: a session cannot be opened: {}\n", opened.error().message());
      ::_exit(3);
    }
  }
  while (w.run_once(std::chrono::nanoseconds::max())) {
  }
}

figure idle_sessions() {
  constexpr std::size_t sessions = 1000;
  constexpr std::size_t descriptors_each = 8;  // at most, with room for what else is open
  const std::string name = fmt::format("{} idle sessions on one loop, one worker", sessions);
  const std::string target = "0.0 % CPU, 0 wakeups, < 100 KB RSS each, in either process";
  rlimit before{};
  FERRY_CHECK(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit raised{std::min<rlim_t>(sessions * descriptors_each, before.rlim_max), before.rlim_max};
  raised.rlim_cur = std::max(raised.rlim_cur, before.rlim_cur);
  FERRY_CHECK(::setrlimit(RLIMIT_NOFILE, &raised) == 0);
  if (raised.rlim_cur < sessions * descriptors_each) {
    return {name, "not measured", fmt::format("RLIMIT_NOFILE is {}", raised.rlim_cur),
            "",   target,         false};
  }
  const auto refused = [&](const call_error& why) {
    return figure{name, "not measured", why.message(), "", target, false};
  };
  std::vector<unique_fd> mine, theirs;
  for (std::size_t i = 0; i < sessions; ++i) {
    auto pair = socket_pair();
    FERRY_CHECK(pair);
    mine.push_back(std::move(pair->first));
    theirs.push_back(std::move(pair->second));
  }
  const pid_t peer = ::fork();
  FERRY_CHECK(peer >= 0);
  if (peer == 0) {
    mine.clear();
    serve_all(std::move(theirs));
    ::_exit(0);
  }
  theirs.clear();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it waits for the first hello
  const double here_at_first = static_cast<double>(use_of(0).rss_bytes);
  const double there_at_first = static_cast<double>(use_of(peer).rss_bytes);
  const std::size_t descriptors_at_first = descriptors_of(peer);

  auto loop = loop::create();
  FERRY_CHECK(loop);
  std::vector<client> hosts;
  hosts.reserve(sessions);
  for (unique_fd& each : mine) {
    client_options options;
    options.loop = *loop;
    auto made = client::attach(std::move(each), options);
    if (!made) return refused(made.error());
    hosts.push_back(std::move(*made));
  }
  // Only now: the worker opened one session after another, and serves since the last one.
  for (client& each : hosts) FERRY_CHECK(*each.call(add, 1, 2) == 3);
  // Past the spin and the bell; then nothing happens for two seconds.
  FERRY_CHECK(loop->run_once(std::chrono::milliseconds(1500)));
  const process_use here = use_of(0), there = use_of(peer);
  const std::size_t descriptors = descriptors_of(peer) - descriptors_at_first + sessions;
  constexpr auto asleep_for = std::chrono::seconds(2);
  const auto cpu_here = cpu_time_of(0), cpu_there = cpu_time_of(peer);
  FERRY_CHECK(loop->run_once(asleep_for));
  const auto share_here = 100.0 * std::chrono::duration<double>(cpu_time_of(0) - cpu_here) /
                          std::chrono::duration<double>(asleep_for);
  const auto share_there = 100.0 * std::chrono::duration<double>(cpu_time_of(peer) - cpu_there) /
                           std::chrono::duration<double>(asleep_for);
  const std::uint64_t wakeups_here = use_of(0).wakeups - here.wakeups;
  const std::uint64_t wakeups_there = use_of(peer).wakeups - there.wakeups;
  hosts.clear();
  FERRY_CHECK(::waitpid(peer, nullptr, 0) == peer);
  FERRY_CHECK(::setrlimit(RLIMIT_NOFILE, &before) == 0);

  const double kb_here =
      (static_cast<double>(here.rss_bytes) - here_at_first) / 1e3 / static_cast<double>(sessions);
  const double kb_there =
      (static_cast<double>(there.rss_bytes) - there_at_first) / 1e3 / static_cast<double>(sessions);
  constexpr std::uint64_t own_wakeups = 1;  // the end of the two seconds
  constexpr double no_cpu = 0.05, most_kb = 100;
  return {name,
          fmt::format("host {:.2f} % CPU, {} wakeups, {:.0f} KB each; worker {:.2f} % CPU, {} "
                      "wakeups, {:.0f} KB each",
                      share_here, wakeups_here, kb_here, share_there, wakeups_there, kb_there),
          fmt::format("{:.1f} descriptors each on either side",
                      static_cast<double>(descriptors) / static_cast<double>(sessions)),
          "",
          target,
          share_here < no_cpu && share_there < no_cpu && wakeups_here <= own_wakeups &&
              wakeups_there == 0 && kb_here < most_kb && kb_there < most_kb};
}

}  // namespace

std::vector<figure> many_at_once(const effort& how) {
  std::vector<figure> out;
  for (const placement where : {placement::two_cores, placement::unpinned}) {
    if (!possible(where)) continue;
    out.push_back(threads_against_one(
        how, where, "blocking calls of 64 B", "one thread",
        [&](client& host, function_id echo) {
          return blocking_rate(host, echo, many_threads, how.run_for);
        },
        [&](client& host, function_id echo) { return blocking_rate(host, echo, 1, how.run_for); }));
    out.push_back(threads_against_one(
        how, where, "16 in flight each", "one thread, 1024 in flight",
        [&](client& host, function_id echo) {
          return pipelined_rate(host, echo, many_threads, in_flight_each, how.run_for);
        },
        [&](client& host, function_id echo) {
          return pipelined_rate(host, echo, 1, many_threads * in_flight_each, how.run_for);
        }));
  }
  out.push_back(idle_sessions());
  return out;
}

}  // namespace ferry::perf
