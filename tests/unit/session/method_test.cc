#include "engine/method.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace ferry {
namespace {

struct refusal {
  int reason = 0;
};

inline const method<int(int, const std::string&)> add{"add"};
using unary = decltype(add);
static_assert(unary::kind == method_kind::unary);
static_assert(std::is_same_v<unary::result_type, int>);
static_assert(std::is_same_v<unary::args, std::tuple<int, const std::string&>>);
static_assert(std::is_void_v<unary::item> && std::is_void_v<unary::request_item>);
static_assert(std::is_same_v<method_result<unary>, result<int, call_error>>);

using nothing = method<void()>;
static_assert(nothing::kind == method_kind::unary);
static_assert(std::is_same_v<method_result<nothing>, result<void, call_error>>);

using server = method<streamed<std::string>(int), refusal>;
static_assert(server::kind == method_kind::server_stream);
static_assert(std::is_void_v<server::result_type>);
static_assert(std::is_same_v<server::args, std::tuple<int>>);
static_assert(std::is_same_v<server::item, std::string> && std::is_void_v<server::request_item>);
static_assert(std::is_same_v<server::error_type, refusal>);
static_assert(std::is_same_v<method_error<server>, typed_error<refusal>>);
static_assert(std::is_same_v<method_result<server>, result<void, typed_error<refusal>>>);

using upload = method<int(streamed<std::string>)>;
static_assert(upload::kind == method_kind::client_stream);
static_assert(std::is_same_v<upload::result_type, int>);
static_assert(std::is_same_v<upload::args, std::tuple<>>);
static_assert(std::is_void_v<upload::item> && std::is_same_v<upload::request_item, std::string>);

using both = method<streamed<int>(streamed<std::string>)>;
static_assert(both::kind == method_kind::bidirectional);
static_assert(std::is_void_v<both::result_type>);
static_assert(std::is_same_v<both::item, int> && std::is_same_v<both::request_item, std::string>);

static_assert(!std::is_copy_constructible_v<unary>);  // the slot belongs to one object

constinit const method<void()> before_main{"before_main"};

TEST(method, has_its_name_before_any_code_runs) {
  EXPECT_EQ(add.name(), "add");
  EXPECT_EQ(before_main.name(), "before_main");
}

TEST(method, keeps_the_slot_that_it_got_at_first_use) {
  const method<void()> first{"same"};
  const method<void()> second{"same"};
  const auto slot = first.slot();
  EXPECT_NE(second.slot(), slot);
  EXPECT_EQ(first.slot(), slot);
}

TEST(method, gives_racing_threads_one_slot) {
  for (int round = 0; round < 50; ++round) {
    const method<void()> raced{"raced"};
    std::array<std::uint32_t, 4> seen{};
    std::vector<std::thread> threads;
    for (auto& slot : seen) threads.emplace_back([&] { slot = raced.slot(); });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(std::ranges::count(seen, raced.slot()), 4);
  }
}

TEST(method, error_says_what_every_call_error_says_and_the_detail) {
  const method_error<server> why{{errc::execution_failed, "no", true}, refusal{3}};
  EXPECT_EQ(why.message(), call_error(why).message());
  EXPECT_EQ(why.detail->reason, 3);
  EXPECT_FALSE(method_error<server>{}.detail);
}

}  // namespace
}  // namespace ferry
