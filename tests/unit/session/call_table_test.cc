#include "engine/client/call_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <set>
#include <thread>
#include <vector>

namespace ferry {
namespace {

using clock = call_table::clock;
using namespace std::chrono_literals;

constexpr auto never = clock::time_point::max();
const clock::time_point noon{1'000s};  // any time will do: it is handed in

completion counting(int& runs) {
  return completion([&runs](const record_fields*, body&&, call_error*) { ++runs; });
}

std::optional<std::uint64_t> begin(call_table& calls, int& runs,
                                   clock::time_point deadline = never) {
  completion done = counting(runs);
  return calls.begin(done, deadline);
}

bool end(call_table& calls, std::uint64_t id) {
  return calls.end(id, [](completion& done) { done(nullptr, body(), nullptr); });
}

TEST(call_table, hands_the_completion_to_the_first_end_and_to_no_other) {
  call_table calls(4);
  int runs = 0;
  const auto id = begin(calls, runs);
  ASSERT_TRUE(id);
  EXPECT_EQ(calls.in_flight(), 1u);
  EXPECT_TRUE(end(calls, *id));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(calls.in_flight(), 0u);
  EXPECT_FALSE(end(calls, *id));
  EXPECT_EQ(runs, 1);
}

TEST(call_table, knows_no_id_that_it_did_not_give_out) {
  call_table calls(4);
  int runs = 0;
  EXPECT_FALSE(end(calls, 1));  // before the first call
  const auto id = begin(calls, runs);
  ASSERT_TRUE(id);
  EXPECT_NE(*id, 0u);
  for (const std::uint64_t other : {std::uint64_t{0}, *id + 1, *id - 1, *id + (1u << 16),
                                    *id + (std::uint64_t{1} << 48), ~std::uint64_t{0}}) {
    EXPECT_FALSE(end(calls, other)) << other;
  }
  EXPECT_EQ(runs, 0);
  EXPECT_TRUE(end(calls, *id));
}

TEST(call_table, takes_as_many_calls_as_it_was_made_for) {
  for (const std::uint32_t capacity : {1u, 2u, 7u, 64u, 65'535u}) {
    call_table calls(capacity);
    int runs = 0;
    std::vector<std::uint64_t> ids;
    for (std::uint32_t i = 0; i < capacity; ++i) ids.push_back(*begin(calls, runs));
    EXPECT_FALSE(begin(calls, runs)) << capacity;
    EXPECT_EQ(calls.in_flight(), capacity);
    EXPECT_TRUE(end(calls, ids[capacity / 2]));
    EXPECT_TRUE(begin(calls, runs)) << capacity;
    EXPECT_FALSE(begin(calls, runs)) << capacity;
  }
}

TEST(call_table, leaves_a_completion_that_found_no_room_as_it_was) {
  call_table calls(1);
  int runs = 0;
  ASSERT_TRUE(begin(calls, runs));
  completion refused = counting(runs);
  EXPECT_FALSE(calls.begin(refused, never));
  refused(nullptr, body(), nullptr);
  EXPECT_EQ(runs, 1);
}

TEST(call_table, gives_a_slot_that_is_used_again_another_id) {
  call_table calls(1);
  int runs = 0;
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 10'000; ++i) {
    const auto id = begin(calls, runs);
    ASSERT_TRUE(id);
    EXPECT_TRUE(seen.insert(*id).second);
    if (i > 0) {
      EXPECT_FALSE(end(calls, *seen.begin()));  // the oldest, long gone
    }
    EXPECT_TRUE(end(calls, *id));
  }
  EXPECT_EQ(runs, 10'000);
}

TEST(call_table, uses_few_slots_again_rather_than_many_once) {
  call_table calls(1'000);
  int runs = 0;
  std::set<std::uint64_t> slots;
  for (int i = 0; i < 1'000; ++i) {
    const auto id = begin(calls, runs);
    slots.insert(*id & 0xffff);
    EXPECT_TRUE(end(calls, *id));
  }
  EXPECT_EQ(slots.size(), 1u);  // so that only their pages are touched
}

TEST(call_table, ends_what_has_expired_and_nothing_else) {
  call_table calls(8);
  int early = 0, late = 0, unbounded = 0;
  const auto first = begin(calls, early, noon);
  const auto second = begin(calls, late, noon + 10s);
  ASSERT_TRUE(first && second && begin(calls, unbounded));
  const auto run = [](std::uint64_t, completion& done) { done(nullptr, body(), nullptr); };
  calls.end_expired(noon - 1ns, run);
  EXPECT_EQ(early, 0);
  calls.end_expired(noon, run);
  EXPECT_EQ(early, 1);
  EXPECT_EQ(late, 0);
  calls.end_expired(noon + 10s, run);
  EXPECT_EQ(early, 1);
  EXPECT_EQ(late, 1);
  EXPECT_EQ(unbounded, 0);
  EXPECT_FALSE(end(calls, *first));
  EXPECT_EQ(calls.in_flight(), 1u);
}

TEST(call_table, knows_a_time_before_which_nothing_expires) {
  call_table calls(8);
  int runs = 0;
  EXPECT_EQ(calls.next_deadline(), never);
  ASSERT_TRUE(begin(calls, runs));
  EXPECT_EQ(calls.next_deadline(), never);
  ASSERT_TRUE(begin(calls, runs, noon + 5s));
  EXPECT_EQ(calls.next_deadline(), noon + 5s);
  ASSERT_TRUE(begin(calls, runs, noon + 9s));
  EXPECT_EQ(calls.next_deadline(), noon + 5s);
  const auto soonest = begin(calls, runs, noon);
  ASSERT_TRUE(soonest);
  EXPECT_EQ(calls.next_deadline(), noon);
  EXPECT_TRUE(end(calls, *soonest));
  EXPECT_LE(calls.next_deadline(), noon + 5s);  // may be earlier than the earliest
  const auto run = [](std::uint64_t, completion& done) { done(nullptr, body(), nullptr); };
  calls.end_expired(noon, run);
  EXPECT_EQ(calls.next_deadline(), noon + 5s);  // exact again after a sweep
  calls.end_expired(noon + 5s, run);
  EXPECT_EQ(calls.next_deadline(), noon + 9s);
  calls.end_expired(noon + 9s, run);
  EXPECT_EQ(calls.next_deadline(), never);
}

TEST(call_table, ends_all_at_the_end) {
  call_table calls(8);
  int runs = 0;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(begin(calls, runs, i % 2 == 0 ? never : noon));
  calls.end_all([](std::uint64_t, completion& done) { done(nullptr, body(), nullptr); });
  EXPECT_EQ(runs, 5);
  EXPECT_EQ(calls.in_flight(), 0u);
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(begin(calls, runs));
}

TEST(call_table, may_begin_and_end_calls_inside_a_completion) {
  call_table calls(2);
  int runs = 0, inner_runs = 0;
  std::optional<std::uint64_t> inner;
  completion outer([&](const record_fields*, body&&, call_error*) {
    ++runs;
    inner = begin(calls, inner_runs);
  });
  const auto id = calls.begin(outer, never);
  ASSERT_TRUE(id);
  EXPECT_TRUE(end(calls, *id));
  ASSERT_TRUE(inner);
  EXPECT_TRUE(end(calls, *inner));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(inner_runs, 1);
}

TEST(call_table, has_room_for_the_next_call_in_the_completion_of_the_last) {
  for (const bool driving : {true, false}) {
    call_table calls(1);
    int runs = 0, left = 1'000;
    std::optional<std::uint64_t> current;
    std::function<void()> renew = [&] {
      completion done([&](const record_fields*, body&&, call_error*) {
        ++runs;
        current.reset();
        if (--left == 0) return;
        renew();
        EXPECT_FALSE(begin(calls, runs));  // one place, not two
      });
      current = calls.begin(done, never);
    };
    renew();
    const auto run = [](completion& done) { done(nullptr, body(), nullptr); };
    while (left > 0) {
      ASSERT_TRUE(current) << left;
      ASSERT_TRUE(driving ? calls.end_driving(*current, run) : calls.end(*current, run));
    }
    EXPECT_EQ(runs, 1'000);
    EXPECT_EQ(calls.in_flight(), 0u);
  }
}

TEST(call_table, ends_calls_inside_completions_and_keeps_its_capacity) {
  call_table calls(3);
  for (int round = 0; round < 100; ++round) {
    int runs = 0;
    const auto inner = begin(calls, runs), innermost = begin(calls, runs);
    ASSERT_TRUE(inner && innermost);
    completion outer([&](const record_fields*, body&&, call_error*) {
      ++runs;
      const auto run = [](completion& done) { done(nullptr, body(), nullptr); };
      EXPECT_TRUE(calls.end_driving(*inner, [&](completion& done) {
        run(done);
        EXPECT_TRUE(calls.end_driving(*innermost, run));
      }));
      EXPECT_EQ(calls.in_flight(), 0u);
    });
    const auto id = calls.begin(outer, never);
    ASSERT_TRUE(id);
    EXPECT_FALSE(begin(calls, runs));
    EXPECT_TRUE(calls.end_driving(*id, [](completion& done) { done(nullptr, body(), nullptr); }));
    EXPECT_EQ(runs, 3);
  }
}

TEST(call_table, destroys_completions_that_never_ran_with_itself) {
  const auto witness = std::make_shared<int>(0);
  {
    call_table calls(2);
    completion done([witness](const record_fields*, body&&, call_error*) {});
    ASSERT_TRUE(calls.begin(done, never));
    EXPECT_EQ(witness.use_count(), 2);
  }
  EXPECT_EQ(witness.use_count(), 1);
}

// --- many threads -------------------------------------------------------------------------------

TEST(call_table, lets_exactly_one_of_racing_ends_have_the_call) {
  call_table calls(1);
  std::atomic<std::uint64_t> current{0};
  std::atomic<int> runs{0}, won{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> enders;
  for (int i = 0; i < 3; ++i) {
    enders.emplace_back([&] {
      int misses = 0;
      while (!stop) {
        // Also ids that were ended long ago: somebody else has the slot by now.
        const std::uint64_t id = current;
        if (calls.end(id, [](completion& done) { done(nullptr, body(), nullptr); })) {
          ++won;
        } else if (++misses % 16 == 0) {
          std::this_thread::yield();
        }
      }
    });
  }
  constexpr int rounds = 20'000;
  for (int round = 0; round < rounds;) {
    completion done([&runs](const record_fields*, body&&, call_error*) { ++runs; });
    const auto id = calls.begin(done, never);
    if (!id) {
      std::this_thread::yield();
      continue;
    }
    ++round;
    current = *id;
  }
  while (runs < rounds) std::this_thread::yield();
  stop = true;
  for (auto& thread : enders) thread.join();
  EXPECT_EQ(runs, rounds);
  EXPECT_EQ(won, rounds);
}

// Every slot that the driver frees is taken by one thread, and none is lost: all are free at last.
TEST(call_table, gives_each_slot_that_the_driver_frees_to_one_thread) {
  constexpr std::uint32_t slots = 4;
  constexpr int threads = 3, rounds = 20'000;
  call_table calls(slots);
  std::array<std::atomic<std::uint64_t>, threads> offered{};  // to the driver; 0: taken
  std::atomic<int> runs{0}, others{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < rounds;) {
        completion done([&runs](const record_fields*, body&&, call_error*) { ++runs; });
        const auto id = calls.begin(done, never);
        if (!id) {
          std::this_thread::yield();
          continue;
        }
        ++i;
        if (i % 8 == 0 && end(calls, *id)) {  // some are ended by others than the driver
          ++others;
          continue;
        }
        offered[static_cast<std::size_t>(t)] = *id;
        while (offered[static_cast<std::size_t>(t)] != 0) std::this_thread::yield();
      }
    });
  }
  while (runs < threads * rounds) {
    bool any = false;
    for (auto& each : offered) {
      const std::uint64_t id = each;
      if (id == 0) continue;
      any = true;
      EXPECT_TRUE(calls.end_driving(id, [](completion& done) { done(nullptr, body(), nullptr); }));
      EXPECT_FALSE(calls.end_driving(id, [](completion&) {}));
      each = 0;
    }
    if (!any) std::this_thread::yield();
  }
  for (auto& thread : callers) thread.join();
  EXPECT_EQ(runs, threads * rounds);
  EXPECT_EQ(others, threads * rounds / 8);
  EXPECT_EQ(calls.in_flight(), 0u);
  int left = 0;
  for (std::uint32_t i = 0; i < slots; ++i) EXPECT_TRUE(begin(calls, left));
  EXPECT_FALSE(begin(calls, left));
}

TEST(call_table, loses_no_call_among_many_threads_and_a_sweeper) {
  constexpr int threads = 4, rounds = 20'000;
  call_table calls(16);  // tighter than what they want: full happens
  std::atomic<int> runs{0}, begun{0};
  std::atomic<bool> stop{false};
  std::thread sweeper([&] {
    const auto run = [](std::uint64_t, completion& done) { done(nullptr, body(), nullptr); };
    while (!stop) {
      if (calls.next_deadline() <= noon) calls.end_expired(noon, run);
      std::this_thread::yield();
    }
    calls.end_expired(noon, run);
  });
  std::vector<std::thread> callers;
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < rounds;) {
        completion done([&runs](const record_fields*, body&&, call_error*) { ++runs; });
        const bool expires = (i + t) % 2 == 0;
        const auto id = calls.begin(done, expires ? noon - std::chrono::seconds(i % 7) : never);
        if (!id) {
          std::this_thread::yield();
          continue;
        }
        ++i;
        ++begun;
        if (!expires) {
          EXPECT_TRUE(end(calls, *id));  // nobody else may have it
        }
      }
    });
  }
  for (auto& thread : callers) thread.join();
  stop = true;
  sweeper.join();
  EXPECT_EQ(begun, threads * rounds);
  EXPECT_EQ(runs, begun);
  EXPECT_EQ(calls.in_flight(), 0u);
}

TEST(call_table, never_forgets_a_deadline_that_comes_during_a_sweep) {
  // A sweep forgets the earliest deadline and finds it anew. A call that begins meanwhile is either
  // found, or it notes its own deadline, although an earlier one was noted a moment ago.
  constexpr int rounds = 20'000;
  call_table calls(4);
  std::atomic<int> begins{0}, sweeps{0};  // rounds begun and swept; both threads start together
  std::thread sweeper([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (begins < round) cpu_pause();
      calls.end_expired(noon - 50s, [](std::uint64_t, completion&) {});
      sweeps = round;
    }
  });
  int runs = 0, forgotten = 0;
  for (int round = 1; round <= rounds; ++round) {
    EXPECT_TRUE(begin(calls, runs, noon - 50s));
    begins = round;
    const auto ours = begin(calls, runs, noon);
    while (sweeps < round) cpu_pause();
    forgotten += calls.next_deadline() > noon;
    EXPECT_TRUE(ours && end(calls, *ours));
  }
  sweeper.join();
  EXPECT_EQ(forgotten, 0);
}

}  // namespace
}  // namespace ferry
