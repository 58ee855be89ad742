#include "engine/unique_function.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace ferry {
namespace {

TEST(unique_function, passes_arguments_on_and_returns_what_the_callable_returns) {
  unique_function<std::string(std::unique_ptr<int>, const std::string&)> join =
      [](std::unique_ptr<int> number, const std::string& text) {
        return text + std::to_string(*number);
      };
  EXPECT_EQ(join(std::make_unique<int>(7), "seven "), "seven 7");
}

TEST(unique_function, of_no_result_drops_the_callables) {
  int runs = 0;
  unique_function<void()> count = [&runs] { return ++runs; };
  count();
  count();
  EXPECT_EQ(runs, 2);
}

TEST(unique_function, knows_whether_it_holds_something) {
  unique_function<void()> call;
  EXPECT_FALSE(call);
  call = [] {};
  EXPECT_TRUE(call);
  const unique_function<void()> moved(std::move(call));
  EXPECT_FALSE(call);
  EXPECT_TRUE(moved);
}

TEST(unique_function, is_empty_while_its_callable_is_destroyed) {
  unique_function<void()> call;
  bool was_empty = false;
  const auto look = [&](int* value) {
    delete value;
    was_empty = !call;
    call.reset();
  };
  call = [held = std::unique_ptr<int, decltype(look)>(new int(1), look)] {};
  call.reset();
  EXPECT_TRUE(was_empty);
}

TEST(unique_function_death_test, aborts_when_an_empty_one_is_invoked) {
  unique_function<void()> call;
  EXPECT_DEATH(call(), "table_ != nullptr");
}

}  // namespace
}  // namespace ferry
