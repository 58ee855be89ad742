#include "engine/coro/task.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/coro/manual_event.h"
#include "shm/result.h"

namespace ferry {
namespace {

// Counts its lives.
struct life {
  explicit life(int& count) : alive(&count) { ++*alive; }
  life(const life& other) : alive(other.alive) { ++*alive; }
  life& operator=(const life&) = default;
  ~life() { --*alive; }
  int* alive;
};

task<int> ready(int value) { co_return value; }
task<int> later(manual_event& event, int value) {
  co_await event;
  co_return value;
}
task<int> failing(const char* why) {
  throw std::runtime_error(why);
  co_return 0;
}
task<> wait_for(manual_event& event, int& alive) {
  const life mine(alive);
  co_await event;
}

template <class T>
task<> store(task<T> from, T& to) {
  to = co_await std::move(from);
}

TEST(task, runs_only_when_it_is_awaited) {
  bool ran = false;
  auto work = [](bool& flag) -> task<> {
    flag = true;
    co_return;
  }(ran);
  EXPECT_FALSE(ran);
  EXPECT_FALSE(work.done());
  const auto running = start(std::move(work));
  EXPECT_TRUE(ran);
  EXPECT_TRUE(running.done());
}

TEST(task, never_awaited_leaves_nothing_behind) {
  int alive = 0;
  manual_event event;
  {
    auto work = [](life) -> task<> { co_return; }(life(alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TEST(task, gives_a_value_that_only_moves) {
  std::unique_ptr<int> got;
  auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  const auto running = start(store(make(), got));
  ASSERT_TRUE(running.done());
  EXPECT_EQ(*got, 7);
}

TEST(task, gives_a_result_or_the_error_that_is_returned_instead) {
  auto divide = [](int by) -> task<result<int>> {
    if (by == 0) co_return error{errc::bad_argument};
    co_return 6 / by;
  };
  result<int> good = error{errc::empty}, bad = 0;
  EXPECT_TRUE(start(store(divide(2), good)).done());
  EXPECT_TRUE(start(store(divide(0), bad)).done());
  EXPECT_EQ(*good, 3);
  EXPECT_EQ(bad.error().code, errc::bad_argument);
}

TEST(task, waits_and_goes_on_where_it_was) {
  manual_event event;
  int got = 0;
  const auto running = start(store(later(event, 5), got));
  EXPECT_FALSE(running.done());
  event.set();
  EXPECT_TRUE(running.done());
  EXPECT_EQ(got, 5);
}

task<> catch_into(task<int> work, std::string& text) {
  try {
    (void)co_await std::move(work);
  } catch (const std::runtime_error& why) {
    text = why.what();
  }
}

TEST(task, throws_at_its_await_what_left_it) {
  std::string text;
  EXPECT_TRUE(start(catch_into(failing("at once"), text)).done());
  EXPECT_EQ(text, "at once");
  manual_event event;
  auto late = [](manual_event& first) -> task<int> {
    co_await first;
    co_return co_await failing("later");
  };
  const auto running = start(catch_into(late(event), text));
  EXPECT_EQ(text, "at once");
  event.set();
  EXPECT_TRUE(running.done());
  EXPECT_EQ(text, "later");
}

TEST(task, destroyed_while_it_waits_destroys_all_that_it_awaits) {
  int alive = 0;
  manual_event event;
  {
    auto outer = [](manual_event& at, int& count) -> task<> {
      const life mine(count);
      co_await wait_for(at, count);
    };
    const auto running = start(outer(event, alive));
    EXPECT_EQ(alive, 2);
  }
  EXPECT_EQ(alive, 0);
  event.set();  // and nobody hears of it
}

TEST(task, a_million_awaits_of_ready_tasks_do_not_deepen_the_stack) {
  auto sum = []() -> task<std::int64_t> {
    std::int64_t total = 0;
    for (int i = 0; i < 1'000'000; ++i) total += co_await ready(1);
    co_return total;
  };
  std::int64_t got = 0;
  EXPECT_TRUE(start(store(sum(), got)).done());
  EXPECT_EQ(got, 1'000'000);
}

TEST(task, a_million_awaits_that_wait_do_not_deepen_the_stack) {
  manual_event event;
  bool ended = false;
  auto loop = [](manual_event& at, bool& flag) -> task<> {
    for (int i = 0; i < 1'000'000; ++i) (void)co_await later(at, i);
    flag = true;
  };
  const auto running = start(loop(event, ended));
  while (!ended) {
    event.set();
    event.reset();
  }
  EXPECT_TRUE(running.done());
}

// Resumes its coroutine from inside await_suspend, as a careless operation might.
struct resumes_at_once {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) const { self.resume(); }
  void await_resume() const noexcept {}
};

TEST(task, may_end_while_its_starter_still_starts_it) {
  auto inner = []() -> task<int> {
    co_await resumes_at_once{};
    co_return 3;
  };
  int got = 0;
  EXPECT_TRUE(start(store(inner(), got)).done());
  EXPECT_EQ(got, 3);
}

// Destroys what `owner` holds from inside await_suspend.
struct drops {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const { *owner = spawned(); }
  void await_resume() const noexcept {}
  spawned* owner;
};

TEST(task, may_be_destroyed_by_what_it_starts) {
  int alive = 0;
  manual_event event;
  spawned owner;
  auto inner = [](spawned* root, int& count) -> task<> {
    const life mine(count);
    co_await drops{root};
  };
  auto outer = [&inner](manual_event& at, spawned* root, int& count) -> task<> {
    co_await at;
    co_await inner(root, count);
    ADD_FAILURE() << "a destroyed task went on";
  };
  owner = start(outer(event, &owner, alive));
  event.set();
  EXPECT_EQ(alive, 0);
}

TEST(spawn, runs_on_done_after_the_frame_is_gone) {
  int alive = 0, alive_then = -1;
  manual_event event;
  spawn(wait_for(event, alive), [&] { alive_then = alive; });
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(alive_then, -1);
  event.set();
  EXPECT_EQ(alive_then, 0);
  bool done = false;
  spawn(wait_for(event, alive), [&] { done = true; });
  EXPECT_TRUE(done);
}

task<> throws() {
  throw std::runtime_error("nobody awaits");
  co_return;
}

TEST(spawn_death_test, an_exception_that_leaves_a_spawned_task_ends_the_process) {
  EXPECT_DEATH(spawn(throws()), "");
}

TEST(spawned, cancels_what_still_runs_when_another_is_assigned) {
  int alive = 0;
  manual_event event;
  spawned running = start(wait_for(event, alive));
  running = start(wait_for(event, alive));
  EXPECT_EQ(alive, 1);
  running = spawned();
  EXPECT_EQ(alive, 0);
  EXPECT_FALSE(running.done());
}

TEST(when_all, starts_all_in_order_and_gives_every_value) {
  std::vector<int> order;
  auto note = [&order](int value) -> task<int> {
    order.push_back(value);
    co_return value;
  };
  auto text = [&order]() -> task<std::unique_ptr<std::string>> {
    order.push_back(2);
    co_return std::make_unique<std::string>("two");
  };
  std::tuple<int, std::unique_ptr<std::string>, int> got;
  EXPECT_TRUE(start(store(when_all(note(1), text(), note(3)), got)).done());
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
  EXPECT_EQ(std::get<0>(got), 1);
  EXPECT_EQ(*std::get<1>(got), "two");
  EXPECT_EQ(std::get<2>(got), 3);
}

TEST(when_all, of_nothing_ends_at_once) {
  std::tuple<> got;
  EXPECT_TRUE(start(store(when_all(), got)).done());
}

TEST(when_all, waits_for_the_last_in_whatever_order_they_end) {
  manual_event first, second;
  std::tuple<int, std::monostate, int> got;
  int alive = 0;
  const auto running =
      start(store(when_all(later(first, 1), wait_for(second, alive), ready(3)), got));
  second.set();
  EXPECT_EQ(alive, 0);
  EXPECT_FALSE(running.done());
  first.set();
  EXPECT_TRUE(running.done());
  EXPECT_EQ(std::get<0>(got), 1);
  EXPECT_EQ(std::get<2>(got), 3);
}

task<> catch_all_into(task<std::tuple<int, int, int>> work, std::string& text) {
  try {
    (void)co_await std::move(work);
  } catch (const std::runtime_error& why) {
    text = why.what();
  }
}

TEST(when_all, throws_the_first_exception_once_all_have_ended) {
  manual_event event;
  std::string text;
  const auto running =
      start(catch_all_into(when_all(later(event, 1), failing("one"), failing("two")), text));
  EXPECT_EQ(text, "");
  event.set();
  EXPECT_TRUE(running.done());
  EXPECT_EQ(text, "one");
}

TEST(when_all, destroyed_destroys_every_part) {
  manual_event event;
  int alive = 0;
  {
    auto both = [](manual_event& at, int& count) -> task<> {
      (void)co_await when_all(wait_for(at, count), wait_for(at, count));
    };
    const auto running = start(both(event, alive));
    EXPECT_EQ(alive, 2);
  }
  EXPECT_EQ(alive, 0);
  event.set();
}

}  // namespace
}  // namespace ferry
