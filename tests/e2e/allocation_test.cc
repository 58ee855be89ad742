// In steady state a call asks the heap for nothing, neither in the host nor in the worker.
#include "perf/heap_count.h"
#include "tests/e2e/e2e.h"

namespace ferry {
namespace {

using allocation = e2e;

constexpr int warm_up = 300, counted = 1'000;

// What the second of two runs of `work` allocated, in this process.
template <class Work>
std::uint64_t allocations_of(Work work) {
  for (int i = 0; i < warm_up; ++i) work();
  const auto before = heap_allocations();
  for (int i = 0; i < counted; ++i) work();
  return heap_allocations() - before;
}

std::uint64_t worker_allocations(client& host, function_id ask) {
  const auto answer = host.call(ask, no_bytes);
  std::uint64_t count = 0;
  if (answer) {
    for (const char digit : answer->text()) {
      count = count * 10 + static_cast<std::uint64_t>(digit - '0');
    }
  }
  return count;
}

TEST_F(allocation, counter_counts) {
  const auto before = heap_allocations();
  const auto text = std::make_unique<std::string>(1'000, 'x');
  EXPECT_GE(heap_allocations() - before, 2u);
  launched host = start();
  EXPECT_GT(worker_allocations(host, id_of(host, "allocations")), 0u);
}

TEST_F(allocation, free_are_blocking_calls_of_small_bodies_on_both_sides) {
  launched host = start();
  const auto echo = id_of(host, "echo"), count = id_of(host, "allocations");
  for (const std::size_t size : {0ul, 24ul, 64ul, 65ul, 1'024ul, 2'048ul}) {
    const std::vector<std::byte> argument(size);
    std::uint64_t wrong = 0;
    const auto work = [&] {
      const auto answer = host.call(echo, argument);
      wrong += !answer || answer->size() != size;
    };
    (void)allocations_of(work);
    const auto worker_before = worker_allocations(host, count);
    EXPECT_EQ(allocations_of(work), 0u) << size;
    EXPECT_EQ(worker_allocations(host, count), worker_before) << size;
    EXPECT_EQ(wrong, 0u);
  }
}

TEST_F(allocation, free_are_calls_with_loans_on_both_sides) {
  launched host = start();
  const auto echo = id_of(host, "echo_loan"), count = id_of(host, "allocations");
  for (const std::size_t size : {100ul, 4'096ul, 65'536ul}) {
    std::uint64_t wrong = 0;
    const auto work = [&] {
      auto argument = host.loan(size);
      if (!argument) return (void)++wrong;
      argument->data()[0] = std::byte{1};
      const auto answer = host.call(echo, std::move(*argument));
      wrong += !answer || answer->size() != size;
    };
    (void)allocations_of(work);
    const auto worker_before = worker_allocations(host, count);
    EXPECT_EQ(allocations_of(work), 0u) << size;
    EXPECT_EQ(worker_allocations(host, count), worker_before) << size;
    EXPECT_EQ(wrong, 0u);
  }
}

TEST_F(allocation, free_are_asynchronous_calls) {
  launched host = start();
  const auto echo = id_of(host, "echo"), count = id_of(host, "allocations");
  for (const std::size_t size : {64ul, 1'024ul, 65'536ul}) {
    const std::vector<std::byte> argument(size);
    std::size_t ended = 0, wrong = 0;
    const auto work = [&] {
      const std::size_t before = ended;
      for (int i = 0; i < 4; ++i) {
        wrong += !host.call_async(echo, argument, [&ended, &wrong, size](call_result&& r) {
          ++ended;
          wrong += !r || r->size() != size;
        });
      }
      while (ended < before + 4) wrong += !host.run_once(1s);
    };
    (void)allocations_of(work);
    const auto worker_before = worker_allocations(host, count);
    EXPECT_EQ(allocations_of(work), 0u) << size;
    EXPECT_EQ(worker_allocations(host, count), worker_before) << size;
    EXPECT_EQ(wrong, 0u);
  }
}

TEST_F(allocation, free_are_calls_of_coroutines_also_if_they_wait_for_room) {
  client_options options;
  options.max_calls = 3;
  launched host = start(options);
  static const method<int(int, int)> add{"add"};
  std::size_t ended = 0, wrong = 0;
  const auto one = [&]() -> task<> {
    const auto sum = co_await host.call_task(add, 1, 2);
    wrong += !sum || *sum != 3;
    ++ended;
  };
  for (const std::size_t at_once : {2ul, 10ul}) {
    const auto work = [&] {
      const std::size_t before = ended;
      for (std::size_t i = 0; i < at_once; ++i) ferry::spawn(one());
      while (ended < before + at_once) wrong += !host.run_once(1s);
    };
    (void)allocations_of(work);
    EXPECT_EQ(allocations_of(work), 0u) << at_once;
    EXPECT_EQ(wrong, 0u);
  }
}

TEST_F(allocation, free_are_typed_calls_of_small_values_in_the_host) {
  launched host = start();
  const auto add = id_of(host, "add");
  std::uint64_t wrong = 0;
  EXPECT_EQ(allocations_of([&] { wrong += *host.invoke<int>(add, 1, 2) != 3; }), 0u);
  EXPECT_EQ(wrong, 0u);
}

TEST_F(allocation, free_are_calls_by_a_name_that_is_known) {
  launched host = start();
  EXPECT_EQ(allocations_of([&] { (void)host.call("echo", no_bytes); }), 0u);
}

TEST_F(allocation, of_a_quiet_session_returns_to_where_it_was) {
  launched host = start();
  const auto keep = id_of(host, "keep");
  const std::vector<std::byte> argument(10'000);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(host.call(keep, argument));
  EXPECT_EQ(ask(host, "forget"), "forgotten");
  EXPECT_TRUE(host.run_once());
  host.trim();
  EXPECT_EQ(host.stats().arena_bytes, 0u);
  EXPECT_EQ(host.stats().bytes_lent, 0u);
}

}  // namespace
}  // namespace ferry
