#include "engine/coro/manual_event.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "engine/coro/task.h"

namespace ferry {
namespace {

task<> note(manual_event& event, std::vector<int>& order, int value) {
  co_await event;
  order.push_back(value);
}

TEST(manual_event, resumes_those_that_wait_in_the_order_in_which_they_came) {
  manual_event event;
  std::vector<int> order;
  const auto one = start(note(event, order, 1));
  const auto two = start(note(event, order, 2));
  EXPECT_TRUE(order.empty());
  event.set();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(manual_event, that_is_set_holds_nobody_until_it_is_reset) {
  manual_event event;
  std::vector<int> order;
  event.set();
  const auto one = start(note(event, order, 1));
  EXPECT_TRUE(one.done());
  event.reset();
  EXPECT_FALSE(event.is_set());
  const auto two = start(note(event, order, 2));
  EXPECT_FALSE(two.done());
}

TEST(manual_event, forgets_a_coroutine_that_is_destroyed_while_it_waits) {
  manual_event event;
  std::vector<int> order;
  const auto one = start(note(event, order, 1));
  auto two = start(note(event, order, 2));
  const auto three = start(note(event, order, 3));
  two = spawned();
  event.set();
  EXPECT_EQ(order, (std::vector{1, 3}));
}

task<> drop(manual_event& event, spawned& other) {
  co_await event;
  other = spawned();
}

TEST(manual_event, forgets_a_coroutine_that_another_destroys_during_set) {
  manual_event event;
  std::vector<int> order;
  spawned two;
  const auto one = start(drop(event, two));
  two = start(note(event, order, 2));
  const auto three = start(note(event, order, 3));
  event.set();
  EXPECT_EQ(order, (std::vector{3}));
}

task<> note_twice(manual_event& event, std::vector<int>& order) {
  co_await event;
  order.push_back(1);
  event.reset();
  co_await event;
  order.push_back(2);
}

TEST(manual_event, resumes_only_those_that_waited_when_it_was_set) {
  manual_event event;
  std::vector<int> order;
  const auto one = start(note_twice(event, order));
  event.set();
  EXPECT_EQ(order, (std::vector{1}));
  event.set();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

task<> destroy(std::optional<manual_event>& event) {
  co_await *event;
  event.reset();
}

TEST(manual_event, may_be_destroyed_by_whom_it_resumes) {
  std::optional<manual_event> event(std::in_place);
  std::vector<int> order;
  const auto one = start(destroy(event));
  const auto two = start(note(*event, order, 2));
  event->set();
  EXPECT_EQ(order, (std::vector{2}));
}

TEST(manual_event, destroyed_first_resumes_nobody) {
  std::vector<int> order;
  spawned waiting;
  {
    manual_event event;
    waiting = start(note(event, order, 1));
  }
  EXPECT_FALSE(waiting.done());
  waiting = spawned();
  EXPECT_TRUE(order.empty());
}

}  // namespace
}  // namespace ferry
