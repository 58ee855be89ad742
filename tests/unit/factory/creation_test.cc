#include "engine/channel/factory/creation.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/unit/factory/fake_world.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using strings = std::vector<std::string>;

address_maker at(std::string address) {
  return [address](const runtime_instance_id&) -> address_result { return address; };
}

struct creating : testing::Test {  // fixture: unix, then tcp; no retries unless the test says so
  creation_plan plan{.instance = instance_of("process:job-7"),
                     .ways = {{"unix", at("/run/x.sock")}, {"tcp", at("127.0.0.1:7")}},
                     .retry = {.max_retries = 0},
                     .connect_timeout = 5s,
                     .options = {},
                     .keepalive = 10s,
                     .extra = {}};
  fake_world fake;
  bool given_up = false;

  creation_result create() { return create(fake.world()); }
  creation_result create(const creation_world& world) {
    return create_channel_by(plan, *fake.transports, world, [this] { return given_up; });
  }
};

TEST_F(creating, takes_the_preferred_channel_when_it_connects) {
  fake.add("unix");
  fake.add("tcp");
  const auto made = create();
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->type(), "unix");
  EXPECT_EQ((*made)->instance_id().full_id(), "process:job-7");
  EXPECT_EQ(fake.tried(), strings{"unix /run/x.sock"});
}

TEST_F(creating, falls_back_in_order_each_time_at_an_address_of_that_transport) {
  for (const errc why : {errc::connection_failed, errc::refused, errc::system, errc::corrupt}) {
    fake_world one;
    one.add_failing("unix", why);
    one.add("tcp");
    const auto made = create_channel_by(plan, *one.transports, one.world(), [] { return false; });
    ASSERT_TRUE(made) << name_of(why);
    EXPECT_EQ((*made)->type(), "tcp");
    EXPECT_EQ(one.tried(), (strings{"unix /run/x.sock", "tcp 127.0.0.1:7"}));
  }
}

TEST_F(creating, falls_back_from_a_handshake_that_never_comes) {
  fake.add_silent("unix");
  fake.add("tcp");
  const auto made = create();
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->type(), "tcp");
  EXPECT_EQ(fake.now(), fake_world::clock::time_point(1h + 5s));
}

TEST_F(creating, closes_a_channel_that_comes_after_the_limit) {
  std::shared_ptr<fake_channel> late;
  fake.add("unix", [&](const connect_request& request) -> channel_result {
    fake.pass(5s + 1ns);
    late = std::make_shared<fake_channel>(request.instance, request.channel);
    return channel_ptr(late);
  });
  plan.ways.pop_back();
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_TRUE(late->was_closed());
  ASSERT_EQ(made.error().attempts.size(), 1u);
  EXPECT_EQ(made.error().attempts[0].cause.code, errc::timeout);
  EXPECT_EQ(made.error().attempts[0].cause.timeout_ms, 5000u);
}

TEST_F(creating, takes_a_channel_that_comes_just_within_the_limit) {
  fake.add("unix", [&](const connect_request& request) -> channel_result {
    fake.pass(5s);
    return channel_ptr(std::make_shared<fake_channel>(request.instance, request.channel));
  });
  EXPECT_TRUE(create());
}

TEST_F(creating, counts_a_channel_that_is_lost_at_once_as_a_failure) {
  fake.add("unix", [](const connect_request& request) -> channel_result {
    auto lost = std::make_shared<fake_channel>(request.instance, request.channel);
    lost->break_link();
    return channel_ptr(lost);
  });
  fake.add("tcp");
  const auto made = create();
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->type(), "tcp");
}

TEST_F(creating, never_falls_back_from_a_refused_authentication) {
  plan.retry.max_retries = 3;
  fake.add_failing("unix", errc::authentication_failed);
  fake.add("tcp");
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::authentication_failed);
  EXPECT_EQ(made.error().attempted_types, strings{"unix"});
  EXPECT_EQ(fake.tried().size(), 1u);
  EXPECT_TRUE(fake.pauses().empty());
}

TEST_F(creating, does_not_fall_back_when_the_channel_dies_of_its_authentication) {
  fake.add("unix", [](const connect_request& request) -> channel_result {
    auto refused = std::make_shared<fake_channel>(request.instance, request.channel);
    refused->break_link(errc::authentication_failed);
    return channel_ptr(refused);
  });
  fake.add("tcp");
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::authentication_failed);
}

TEST_F(creating, stops_when_a_later_way_is_refused) {
  plan.ways.push_back({"memory", at("in-process")});
  fake.add_failing("unix", errc::connection_failed);
  fake.add_failing("tcp", errc::authentication_failed);
  fake.add("memory");
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::authentication_failed);
  EXPECT_EQ(made.error().attempted_types, (strings{"unix", "tcp"}));
}

TEST_F(creating, says_every_attempt_and_its_cause_when_all_fail) {
  plan.retry.max_retries = 1;
  plan.ways.insert(plan.ways.begin(), {"grpc", at("http://127.0.0.1:1")});
  fake.add_failing("unix", errc::connection_failed);
  fake.add_silent("tcp");
  const auto made = create();
  ASSERT_FALSE(made);
  const creation_failure& why = made.error();
  EXPECT_EQ(why.code, errc::channel_creation_failed);
  EXPECT_EQ(why.runtime, runtime_type::process);
  EXPECT_EQ(why.attempted_types, (strings{"grpc", "unix", "tcp"}));
  ASSERT_EQ(why.attempts.size(), 5u);  // an unknown transport is not tried again
  EXPECT_EQ(why.attempts[0].cause.code, errc::unsupported_transport);
  EXPECT_EQ(why.attempts[1].cause.code, errc::connection_failed);
  EXPECT_EQ(why.attempts[2].number, 2u);
  EXPECT_EQ(why.attempts[4].address, "127.0.0.1:7");
  EXPECT_EQ(why.attempts[4].took, 5s);
  EXPECT_EQ(why.message(),
            "channel creation failed (17): process: "
            "grpc: unsupported transport (14): no transport is registered as grpc; "
            "unix at /run/x.sock, 2 times: connection failed (12): as the test says; "
            "tcp at 127.0.0.1:7, 2 times: timeout (2001): no handshake");
  const channel_error as_channel_error = why;
  EXPECT_EQ(as_channel_error.message(), why.message());
}

TEST_F(creating, retries_each_way_with_growing_pauses) {
  plan.retry = {.max_retries = 4, .first_delay = 100ms, .longest_delay = 300ms};
  fake.add_failing("unix", errc::connection_failed);
  fake.add("tcp");
  ASSERT_TRUE(create());
  EXPECT_EQ(fake.tried().size(), 6u);
  const auto pauses = fake.pauses();  // the fake's random number is the greatest there is
  ASSERT_EQ(pauses.size(), 4u);
  const std::vector<std::chrono::nanoseconds> bounds{100ms, 200ms, 300ms, 300ms};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_LE(pauses[i], bounds[i]);
    EXPECT_GT(pauses[i], bounds[i] - 1ms);
  }
}

TEST_F(creating, makes_the_address_anew_for_each_attempt) {
  plan.retry.max_retries = 3;
  int asked = 0;
  plan.ways = {{"tcp", [&asked](const runtime_instance_id&) -> address_result {
                  if (++asked < 3) return channel_error(errc::connection_failed, "not published");
                  return "127.0.0.1:" + std::to_string(asked);
                }}};
  fake.add("tcp");
  ASSERT_TRUE(create());
  EXPECT_EQ(fake.tried(), strings{"tcp 127.0.0.1:3"});
}

TEST_F(creating, does_not_retry_what_cannot_change) {
  plan.retry.max_retries = 3;
  for (const errc why : {errc::not_supported, errc::invalid_configuration, errc::version_mismatch,
                         errc::unsupported_channel}) {
    fake_world one;
    one.add_failing("unix", why);
    one.add("tcp");
    ASSERT_TRUE(create_channel_by(plan, *one.transports, one.world(), [] { return false; }));
    EXPECT_EQ(one.tried().size(), 2u) << name_of(why);
  }
}

TEST_F(creating, survives_a_connector_that_throws_or_gives_nothing) {
  plan.ways.push_back({"memory", at("in-process")});
  plan.ways.push_back({"shm+unix", at("/run/x.shm")});
  fake.add("unix", [](const connect_request&) -> channel_result {
    throw std::runtime_error("out of ideas");
  });
  fake.add("tcp", [](const connect_request&) -> channel_result { throw 7; });
  fake.add("memory", [](const connect_request&) -> channel_result { return channel_ptr(); });
  fake.add("shm+unix");
  strings causes;
  auto world = fake.world();
  world.on_failed_attempt = [&](const runtime_instance_id&, const creation_attempt& attempt) {
    causes.push_back(attempt.cause.text);
  };
  ASSERT_TRUE(create(world));
  EXPECT_EQ(causes, (strings{"the connector of unix threw: out of ideas",
                             "the connector of tcp threw", "memory gave no channel"}));
}

TEST_F(creating, gives_up_before_the_next_attempt) {
  fake.add("unix", [&](const connect_request&) -> channel_result {
    given_up = true;
    return channel_error(errc::connection_failed, "gone");
  });
  fake.add("tcp");
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::closed);
  EXPECT_EQ(fake.tried().size(), 1u);
}

TEST_F(creating, closes_what_it_made_when_given_up_meanwhile) {
  std::shared_ptr<fake_channel> unwanted;
  fake.add("unix", [&](const connect_request& request) -> channel_result {
    given_up = true;
    unwanted = std::make_shared<fake_channel>(request.instance, request.channel);
    return channel_ptr(unwanted);
  });
  const auto made = create();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::closed);
  EXPECT_TRUE(unwanted->was_closed());
}

TEST_F(creating, hands_the_limits_and_a_fresh_secret_to_every_attempt) {
  plan.connect_timeout = 1234ms;
  plan.extra = {{"lane", "7"}};
  std::vector<channel_options> seen;
  const auto look = [&](const connect_request& request) -> channel_result {
    seen.push_back(request.options);
    EXPECT_EQ(request.extra.at("lane"), "7");
    return channel_error(errc::connection_failed, "no");
  };
  fake.add("unix", look);
  fake.add("tcp", look, true);
  auto world = fake.world();
  unsigned issued = 0;
  world.credentials = [&](const runtime_instance_id& instance) -> std::optional<channel_token> {
    EXPECT_EQ(instance, plan.instance);
    channel_token token{};
    token[0] = static_cast<std::byte>(++issued);
    return token;
  };
  EXPECT_FALSE(create(world));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].connect_timeout, 1234ms);
  EXPECT_EQ(seen[0].heartbeat, 0ns);  // the kernel tells of the loss of a local peer
  EXPECT_EQ(seen[1].heartbeat, 10s);
  EXPECT_EQ(seen[0].token.value()[0], std::byte{1});
  EXPECT_EQ(seen[1].token.value()[0], std::byte{2});
}

TEST(backoff, stays_below_the_full_delay_and_never_overflows) {
  const retry_policy policy{.max_retries = 100, .first_delay = 50ms, .longest_delay = 1s};
  for (std::uint32_t retry = 0; retry < 100; ++retry) {
    EXPECT_EQ(backoff_delay(policy, retry, 0), 0ns);
    const auto longest = backoff_delay(policy, retry, ~std::uint64_t{0});
    EXPECT_LT(longest, retry < 5 ? 50ms * (1 << retry) : 1000ms);
    EXPECT_GE(longest, retry < 5 ? 49ms * (1 << retry) : 999ms);
    const auto half = backoff_delay(policy, retry, std::uint64_t{1} << 63);
    EXPECT_NEAR(static_cast<double>(half.count()), static_cast<double>(longest.count()) / 2, 1000);
  }
}

}  // namespace
}  // namespace ferry
