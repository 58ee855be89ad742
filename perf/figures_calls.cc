// What a descriptor's types and a coroutine add to a call, in the same session, in turn.
#include <fmt/format.h>

#include <array>

#include "perf/figures.h"
#include "perf/heap_count.h"
#include "perf/peer.h"
#include "shm/check.h"

namespace ferry::perf {
namespace {

constexpr int calls_in_turn = 2000;  // of one kind, before the other has its turn
constexpr placement where = placement::two_cores;

// Round trips in microseconds.
using samples = std::vector<double>;

template <class Call>
void timed(samples& into, Call&& call) {
  for (int i = 0; i < calls_in_turn; ++i) {
    const auto before = clock::now();
    call();
    into.push_back(microseconds(clock::now() - before));
  }
}

// p50 of two kinds of calls that take turns in one session: `first(samples&)` and `second` make
// calls_in_turn calls each.
template <class First, class Second>
std::array<double, 2> medians_of(clock::duration run_for, First&& first, Second&& second) {
  samples warm_up, one, other;
  first(warm_up);
  second(warm_up);
  for (const auto end = clock::now() + 2 * run_for; clock::now() < end;) {
    first(one);
    second(other);
  }
  return {percentile(one, 0.5), percentile(other, 0.5)};
}

figure by_descriptor(const effort& how) {
  samples typed, raw, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    launched host = start_worker(where, wait_mode::spin);
    const auto echo = host.function("echo");
    FERRY_CHECK(echo);
    const std::array<std::byte, 64> argument{};
    const auto [p50, reference] = medians_of(
        how.run_for,
        [&](samples& into) {
          timed(into, [&] {
            const auto sum = host.call(add, 20, 22);
            FERRY_CHECK(sum && *sum == 42);
          });
        },
        [&](samples& into) {
          timed(into, [&] { FERRY_CHECK(host.call(*echo, argument)->size() == 64); });
        });
    pin_client(placement::unpinned);
    typed.push_back(p50);
    raw.push_back(reference);
    ratios.push_back(p50 / reference);
  }
  constexpr double most = 1.3;
  const double ratio = median(ratios);
  return {fmt::format("call add(int, int) by descriptor, spin, {}", name_of(where)),
          fmt::format("p50 {:.3f} us", median(typed)),
          fmt::format("64 B by number {:.3f} us", median(raw)),
          fmt::format("{:.2f} x", ratio),
          fmt::format("<= {} x", most),
          ratio <= most};
}

task<> awaited_calls(client& host, samples& into) {
  for (int i = 0; i < calls_in_turn; ++i) {
    const auto before = clock::now();
    const auto sum = co_await host.call_task(add, 20, 22);
    into.push_back(microseconds(clock::now() - before));
    FERRY_CHECK(sum && *sum == 42);
  }
}

void callback_calls(client& host, samples& into) {
  timed(into, [&] {
    bool done = false;
    FERRY_CHECK(host.call_async(
        add,
        [&](method_result<method<int(int, int)>>&& sum) {
          FERRY_CHECK(sum && *sum == 42);
          done = true;
        },
        20, 22));
    while (!done) FERRY_CHECK(host.run_once(std::chrono::seconds(1)));
  });
}

figure by_coroutine(const effort& how, wait_mode wait) {
  samples awaited, called_back, ratios;
  for (int i = 0; i < how.repeats; ++i) {
    launched host = start_worker(where, wait);
    const auto [p50, reference] = medians_of(
        how.run_for, [&](samples& into) { host.run(awaited_calls(host, into)); },
        [&](samples& into) { callback_calls(host, into); });
    pin_client(placement::unpinned);
    awaited.push_back(p50);
    called_back.push_back(reference);
    ratios.push_back(p50 / reference);
  }
  constexpr double most = 1.15;
  const double ratio = median(ratios);
  return {fmt::format("co_await call_task(add) in run(), {}, {}", name_of(wait), name_of(where)),
          fmt::format("p50 {:.3f} us", median(awaited)),
          fmt::format("call_async and run_once {:.3f} us", median(called_back)),
          fmt::format("{:.2f} x", ratio),
          fmt::format("<= {} x", most),
          ratio <= most};
}

figure allocations() {
  launched host = start_worker(placement::unpinned, wait_mode::adaptive);
  constexpr int calls = 5 * calls_in_turn;
  struct made {
    std::uint64_t here, there;
  };
  const auto work = [](client& to) -> task<made> {
    const auto call = [&to]() -> task<> { FERRY_CHECK(*co_await to.call_task(add, 1, 2) == 3); };
    for (int i = 0; i < 1000; ++i) co_await call();
    const std::uint64_t there = *co_await to.call_task(allocations_there);
    const std::uint64_t here = heap_allocations();
    for (int i = 0; i < calls; ++i) co_await call();
    const std::uint64_t since = heap_allocations() - here;
    co_return made{since, *co_await to.call_task(allocations_there) - there};
  };
  const made seen = host.run(work(host));
  return {"heap allocations of co_await call_task(add), both sides",
          fmt::format("caller {}, worker {} in {} calls", seen.here, seen.there, calls),
          "",
          "",
          "0",
          seen.here == 0 && seen.there == 0};
}

}  // namespace

std::vector<figure> typed_calls(const effort& how) {
  std::vector<figure> out;
  if (possible(where)) {
    out.push_back(by_descriptor(how));
    out.push_back(by_coroutine(how, wait_mode::spin));
    out.push_back(by_coroutine(how, wait_mode::adaptive));
  }
  out.push_back(allocations());
  return out;
}

}  // namespace ferry::perf
