// What a body's memory costs to get and give back, beside Boost.Interprocess over the same memory.
// Every benchmark runs both: `ferry` is body_arena with its lock, `boost` is rbtree_best_fit
// without one (null_mutex_family), so Boost starts some 10 ns ahead. All pages are mapped before
// the clock starts and nobody touches the bodies, except in `touched`.
#include <benchmark/benchmark.h>

#include <array>
#include <boost/interprocess/indexes/iset_index.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "shm/body_arena.h"
#include "shm/loan_book.h"

namespace ferry {
namespace {

namespace ipc = boost::interprocess;

constexpr std::size_t memory_bytes = 256u << 20;
constexpr std::size_t live_bodies = 64;

class ferry_bodies {
 public:
  using body = arena_block;
  ferry_bodies()
      : arena_(
            arena_options{1ull << 30, memory_bytes},
            [](std::uint32_t, const own_segment&) { return result<void>(); },
            [](std::uint32_t) { return result<void>(); }) {
    constexpr std::uint64_t step = 64u << 20;  // the largest block that is mapped ahead
    std::vector<arena_block> all;
    for (std::size_t at = 0; at < memory_bytes; at += step) {
      if (auto block = arena_.allocate(step)) all.push_back(*block);
    }
    for (const arena_block& block : all) arena_.free(block);
    ready_ = all.size() == memory_bytes / step;
  }
  bool ready() const { return ready_; }
  std::optional<body> take(std::size_t size_bytes) {
    auto block = arena_.allocate(size_bytes);
    return block ? std::optional(*block) : std::nullopt;
  }
  void give(const body& block) { arena_.free(block); }
  static std::byte* data(const body& block) { return block.data; }

 private:
  body_arena arena_;
  bool ready_ = false;
};

class boost_bodies {
 public:
  using body = void*;
  boost_bodies() : segment_(own_segment::create("bench", memory_bytes)) {
    if (!segment_) return;
    segment_->populate(0, memory_bytes);
    buffer_.emplace(ipc::create_only, segment_->bytes().data(), memory_bytes);
  }
  bool ready() const { return buffer_.has_value(); }
  std::optional<body> take(std::size_t size_bytes) {
    void* at = buffer_->allocate(size_bytes, std::nothrow);  // at a multiple of 64, as ours
    return at != nullptr ? std::optional(at) : std::nullopt;
  }
  void give(body at) { buffer_->deallocate(at); }
  static std::byte* data(body at) { return static_cast<std::byte*>(at); }

 private:
  using buffer = ipc::basic_managed_external_buffer<
      char, ipc::rbtree_best_fit<ipc::null_mutex_family, ipc::offset_ptr<void>, 64>,
      ipc::iset_index>;
  result<own_segment> segment_;
  std::optional<buffer> buffer_;
};

// Question  what does one body cost to get and give back when nothing else is alive?
// Unit      ns per pair. One thread, no contention for the lock.
template <class Bodies>
void pair(benchmark::State& state) {
  Bodies bodies;
  if (!bodies.ready()) return state.SkipWithError("no memory");
  const auto size_bytes = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    const auto body = bodies.take(size_bytes);
    if (!body) return state.SkipWithError("does not fit");
    bodies.give(*body);
  }
}
BENCHMARK(pair<ferry_bodies>)->Arg(1 << 10)->Arg(4 << 10)->Arg(64 << 10)->Arg(10 << 20);
BENCHMARK(pair<boost_bodies>)->Arg(1 << 10)->Arg(4 << 10)->Arg(64 << 10)->Arg(10 << 20);

// Question  and with 64 bodies of 1 KB to 1 MB alive that come back in random order? `touched` also
//           writes the first line of each: what the choice of place does to the cache.
// Unit      ns per body given back and replaced. One thread.
template <class Bodies, bool Touch>
void mixed(benchmark::State& state) {
  Bodies bodies;
  if (!bodies.ready()) return state.SkipWithError("no memory");
  struct turn {
    std::size_t victim;
    std::size_t size_bytes;
  };
  std::mt19937 random(20240607);  // the same turns in each run
  std::vector<turn> turns(1 << 16);
  for (turn& each : turns) {
    const std::size_t magnitude = std::size_t{1} << (10 + random() % 10);
    each = {random() % live_bodies, magnitude + random() % magnitude};
  }
  std::array<std::optional<typename Bodies::body>, live_bodies> live;
  std::size_t at = 0;
  for (auto _ : state) {
    const turn now = turns[at++ % turns.size()];
    auto& place = live[now.victim];
    if (place) bodies.give(*place);
    place = bodies.take(now.size_bytes);
    if (!place) return state.SkipWithError("does not fit");
    if (Touch) std::memset(Bodies::data(*place), 1, 64);
  }
  for (auto& place : live) {
    if (place) bodies.give(*place);
  }
}
void mixed_ferry(benchmark::State& state) { mixed<ferry_bodies, false>(state); }
void mixed_boost(benchmark::State& state) { mixed<boost_bodies, false>(state); }
void mixed_ferry_touched(benchmark::State& state) { mixed<ferry_bodies, true>(state); }
void mixed_boost_touched(benchmark::State& state) { mixed<boost_bodies, true>(state); }
BENCHMARK(mixed_ferry);
BENCHMARK(mixed_boost);
BENCHMARK(mixed_ferry_touched);
BENCHMARK(mixed_boost_touched);

// Question  what does a sender pay in all for one body of 4 KB: get, lend, take back, free?
// Unit      ns per round. One thread.
void loan(benchmark::State& state) {
  body_arena arena(
      {}, [](std::uint32_t, const own_segment&) { return result<void>(); },
      [](std::uint32_t) { return result<void>(); });
  loan_book book(1024, arena);
  for (auto _ : state) {
    const auto block = arena.allocate(4096);
    if (!block) return state.SkipWithError("no memory");
    const auto id = book.lend(*block);
    if (!id || !book.take_back(*id)) return state.SkipWithError("not lent");
  }
  if (book.outstanding() != 0 || arena.stats().allocated_blocks != 0) {
    state.SkipWithError("leaked");
  }
}
BENCHMARK(loan);

}  // namespace
}  // namespace ferry

BENCHMARK_MAIN();
