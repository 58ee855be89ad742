#include "engine/client/completion.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>

#include "perf/heap_count.h"

namespace ferry {
namespace {

// Counts its lives in `alive`; as large as asked for.
template <std::size_t Bytes, bool NothrowMove = true>
struct tracked {
  int* alive;
  int* runs;
  std::array<std::byte, Bytes - 2 * sizeof(int*)> filler{};

  tracked(int& lives, int& run_count) : alive(&lives), runs(&run_count) { ++*alive; }
  tracked(tracked&& other) noexcept(NothrowMove)
      : alive(other.alive), runs(other.runs), filler(other.filler) {
    ++*alive;
  }
  ~tracked() { --*alive; }
  void operator()(const record_fields*, body&&, call_error*) { ++*runs; }
};
using small = tracked<completion::inplace_bytes>;
using large = tracked<completion::inplace_bytes + 8>;
using throwing = tracked<32, false>;

template <class F>
class completion_of : public testing::Test {};
using callables = testing::Types<small, large, throwing>;
TYPED_TEST_SUITE(completion_of, callables);

TYPED_TEST(completion_of, any_callable_runs_and_is_destroyed_once) {
  int alive = 0, runs = 0;
  {
    completion done(TypeParam(alive, runs));
    EXPECT_EQ(alive, 1);
    done(nullptr, body(), nullptr);
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TYPED_TEST(completion_of, any_callable_moves_along_and_leaves_nothing_behind) {
  int alive = 0, runs = 0;
  {
    completion first(TypeParam(alive, runs));
    completion second(std::move(first));
    EXPECT_EQ(alive, 1);
    completion third;
    third = std::move(second);
    EXPECT_EQ(alive, 1);
    third(nullptr, body(), nullptr);
    EXPECT_EQ(runs, 1);
    first.reset();
    second.reset();
    EXPECT_EQ(alive, 1);
    third.reset();
    EXPECT_EQ(alive, 0);
    third.reset();
  }
  EXPECT_EQ(alive, 0);
}

TYPED_TEST(completion_of, any_callable_is_replaced_without_a_trace) {
  int alive = 0, runs = 0, other_alive = 0, other_runs = 0;
  completion done(TypeParam(alive, runs));
  done = completion(small(other_alive, other_runs));
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(other_alive, 1);
  done(nullptr, body(), nullptr);
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(other_runs, 1);
}

TYPED_TEST(completion_of, any_callable_survives_a_move_to_itself) {
  int alive = 0, runs = 0;
  completion done(TypeParam(alive, runs));
  completion& same = done;
  done = std::move(same);
  EXPECT_EQ(alive, 1);
  done(nullptr, body(), nullptr);
  EXPECT_EQ(runs, 1);
}

TEST(completion, of_a_small_callable_asks_the_heap_for_nothing) {
  int alive = 0, runs = 0;
  const auto before = heap_allocations();
  {
    completion first(small(alive, runs));
    completion second(std::move(first));
    second(nullptr, body(), nullptr);
  }
  EXPECT_EQ(heap_allocations(), before);
}

TEST(completion, gets_the_record_and_the_outcome) {
  record_fields answer;
  answer.function = 42;
  std::uint32_t function = 0;
  errc code{};
  std::string text;
  completion done([&](const record_fields* record, body&& content, call_error* why) {
    if (record != nullptr) function = record->function;
    if (why != nullptr) code = why->code;
    text = content.text();
  });
  call_error why{errc::timeout, "", true};
  done(&answer, body::tiny(std::as_bytes(std::span("tiny", 4))), &why);
  EXPECT_EQ(function, 42u);
  EXPECT_EQ(code, errc::timeout);
  EXPECT_EQ(text, "tiny");
}

TEST(completion, may_hold_what_only_moves) {
  int seen = 0;
  auto call = [value = std::make_unique<int>(7), &seen](const record_fields*, body&&, call_error*) {
    seen = *value;
  };
  completion done(std::move(call));
  completion moved(std::move(done));
  moved(nullptr, body(), nullptr);
  EXPECT_EQ(seen, 7);
}

TEST(completion, made_of_a_completion_is_that_completion) {
  int alive = 0, runs = 0;
  completion first(small(alive, runs));
  completion second;
  second.emplace(std::move(first));
  EXPECT_EQ(alive, 1);
  second(nullptr, body(), nullptr);
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace ferry
