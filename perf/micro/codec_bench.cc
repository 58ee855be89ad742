// Micro-benchmarks of typed values on their way to bytes and back.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "engine/codec/typed.h"

namespace {

// Question  what do the arguments of add(int, int) cost, encoded and decoded?
// Unit      ns per pair of encode and decode.
void two_integers(benchmark::State& state) {
  int a = 0;
  for (auto _ : state) {
    std::byte small[256];
    ferry::value_writer writer(small);
    ferry::encode_args(writer, ++a, 2);
    const auto back = ferry::decode_args<std::tuple<int, int>>(writer.bytes());
    if (!back || std::get<0>(*back) != a) return state.SkipWithError("changed on the way");
  }
}
BENCHMARK(two_integers);

// Question  what does a list of short strings cost, by its length?
// Unit      ns per pair of encode and decode.
void strings(benchmark::State& state) {
  const std::vector<std::string> list(static_cast<std::size_t>(state.range(0)), "a short string");
  for (auto _ : state) {
    std::byte small[256];
    ferry::value_writer writer(small);
    ferry::encode(writer, list);
    const auto back = ferry::decode<std::vector<std::string>>(writer.bytes());
    if (!back || back->size() != list.size()) return state.SkipWithError("changed on the way");
  }
}
BENCHMARK(strings)->Arg(1)->Arg(100);

}  // namespace

BENCHMARK_MAIN();
