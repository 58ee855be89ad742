// Micro-benchmarks of the ring's algorithms, one thread, both sides in one process.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "ring/doorbell.h"
#include "ring/record_ring.h"
#include "ring/returns_ring.h"

namespace {

using namespace ferry;

struct ring_pair {
  static constexpr std::uint64_t capacity = 512 << 10;
  static constexpr std::uint64_t key = 0x9e3779b97f4a7c15;
  struct memory {
    alignas(4096) std::byte bytes[capacity]{};
    cursor<std_atomics> read{};
  };
  std::unique_ptr<memory> shared = std::make_unique<memory>();
  record_producer<> producer{shared->bytes, shared->read, key};
  record_consumer<> consumer{shared->bytes, shared->read, key};
};

// Question  what does one uncontended push + pop of a record cost, by size of the inline body?
// Unit      ns per pair. One thread, no cache-line transfer: not a throughput claim.
void record_push_pop(benchmark::State& state) {
  ring_pair ring;
  std::vector<std::byte> body(static_cast<std::size_t>(state.range(0)), std::byte{1});
  std::vector<std::byte> out(body.size());
  record_fields fields;
  fields.kind = record_kind::call;
  std::uint64_t popped = 0;
  for (auto _ : state) {
    if (!ring.producer.try_push(fields, body)) return state.SkipWithError("full");
    const auto got =
        ring.consumer.try_pop([&](const record_fields&, std::span<const std::byte> in) {
          std_atomics::read(out.data(), in.data(), in.size());
          popped += in.size();
        });
    if (!got) return state.SkipWithError("empty");
    if (ring.consumer.owes_room()) ring.consumer.give_back();
  }
  if (popped != body.size() * static_cast<std::uint64_t>(state.iterations())) {
    state.SkipWithError("lost bytes");
  }
}
BENCHMARK(record_push_pop)->Arg(0)->Arg(64)->Arg(1024)->Arg(2048);

// Question  what does one returned body cost on its way through the returns ring?
// Unit      ns per push + pop, one thread.
void returns_push_pop(benchmark::State& state) {
  std::vector<return_cell<std_atomics>> cells(4096);
  cursor<std_atomics> read{};
  returns_producer<> producer(cells, read);
  returns_consumer<> consumer(cells, read);
  std::uint32_t id = 0;
  for (auto _ : state) {
    if (!producer.try_push(++id)) return state.SkipWithError("full");
    const auto got = consumer.try_pop();
    if (!got || *got != id) return state.SkipWithError("lost an id");
  }
}
BENCHMARK(returns_push_pop);

// Question  what does a publisher pay to learn that its peer is awake: with the fence, and without?
// Unit      ns per look, one thread, lines in cache.
void look_at_sleeper(benchmark::State& state) {
  sleep_words<std_atomics> mine{}, theirs{};
  ringer<> bell(mine, theirs);
  const bool fenced = state.range(0) != 0;
  for (auto _ : state) {
    const wake how = fenced ? bell.check(news::records) : bell.glance(news::records);
    if (how != wake::none) return state.SkipWithError("nobody sleeps");
  }
}
BENCHMARK(look_at_sleeper)->ArgName("fenced")->Arg(0)->Arg(1);

}  // namespace

BENCHMARK_MAIN();
