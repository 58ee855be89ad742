#include "engine/channel/factory/strategy.h"

#include <gtest/gtest.h>

#include "engine/channel/factory/channel_config.h"
#include "tests/unit/factory/fake_world.h"
#include "tests/unit/factory/scratch_folder.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using strings = std::vector<std::string>;

strategy_builder good() {
  return strategy_builder().runtime(runtime_type::process).preferred("unix", "/run/x.sock");
}

errc code_of(const strategy_builder& builder) {
  const auto built = builder.build();
  return built ? errc{} : built.error().code;
}

TEST(strategy_builder, needs_a_runtime_type_and_a_preferred_channel) {
  EXPECT_EQ(code_of(strategy_builder().preferred("unix", "/run/x.sock")),
            errc::invalid_configuration);
  EXPECT_EQ(code_of(strategy_builder().runtime(runtime_type::wasm).fallback("unix", "/run/x.sock")),
            errc::invalid_configuration);
  EXPECT_EQ(code_of(strategy_builder()), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().runtime(static_cast<runtime_type>(9))), errc::invalid_configuration);
  EXPECT_TRUE(good().build());
}

TEST(strategy_builder, refuses_what_makes_no_sense) {
  EXPECT_EQ(code_of(good().preferred("tcp", "x:1")), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().fallback("unix", "/run/y.sock")), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().fallback("", "x")), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().fallback("tcp", address_maker())), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().retries({.max_retries = 101})), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().retries({.first_delay = 2s, .longest_delay = 1s})),
            errc::invalid_configuration);
  EXPECT_EQ(code_of(good().retries({.first_delay = -1ns})), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().connect_timeout(0s)), errc::invalid_configuration);
  EXPECT_EQ(code_of(good().connect_timeout(25h)), errc::invalid_configuration);
  auto many = good();
  for (const char* const name : {"a", "b", "c", "d", "e", "f", "g"}) many.fallback(name, "x");
  EXPECT_TRUE(many.build());
  EXPECT_EQ(code_of(many.fallback("h", "x")), errc::invalid_configuration);
}

TEST(strategy_builder, keeps_the_order_and_an_address_for_each) {
  const auto built = good().fallback("tcp", "x:1").fallback("memory", "here").build();
  ASSERT_TRUE(built);
  EXPECT_EQ(built->channels(), (strings{"unix", "tcp", "memory"}));
  EXPECT_TRUE(built->names("tcp"));
  EXPECT_FALSE(built->names("grpc"));
  const auto job = instance_of("process:job");
  EXPECT_EQ(*built->addresses.at("unix")(job), "/run/x.sock");
  EXPECT_EQ(*built->addresses.at("tcp")(job), "x:1");
}

struct default_strategies : testing::Test {  // fixture: sockets in a folder of their own
  scratch_folder scratch;
  socket_paths paths = *socket_paths::open({.runtime_dir = scratch.path()});

  channel_strategy of(runtime_type type) {
    auto made = default_strategy(type, paths);
    EXPECT_TRUE(made);
    return *made;
  }
};

TEST_F(default_strategies, try_shared_memory_then_unix_then_tcp_for_processes) {
  const auto process = of(runtime_type::process);
  EXPECT_EQ(process.channels(), (strings{"shm+unix", "unix", "tcp"}));
  EXPECT_EQ(process.connect_timeout, 5s);
  EXPECT_EQ(process.retry.max_retries, 3u);
  const auto job = instance_of("ns:process:job");
  EXPECT_EQ(*process.addresses.at("shm+unix")(job), scratch / "ferry/ns-process-job.shm");
  EXPECT_EQ(*process.addresses.at("unix")(job), scratch / "ferry/ns-process-job.sock");
  EXPECT_EQ(process.addresses.at("tcp")(job).error().code, errc::connection_failed);
  ASSERT_TRUE(address_board(paths).publish(job, "tcp", "127.0.0.1:4711"));
  EXPECT_EQ(*process.addresses.at("tcp")(job), "127.0.0.1:4711");
}

TEST_F(default_strategies, try_grpc_then_tcp_for_kubernetes) {
  const auto kubernetes = of(runtime_type::kubernetes);
  EXPECT_EQ(kubernetes.channels(), (strings{"grpc", "tcp"}));
  EXPECT_EQ(*kubernetes.addresses.at("grpc")(instance_of("kubernetes:pod")),
            "http://127.0.0.1:50051");
}

TEST_F(default_strategies, have_memory_alone_for_wasm) {
  const auto wasm = of(runtime_type::wasm);
  EXPECT_EQ(wasm.channels(), strings{"memory"});
  EXPECT_EQ(*wasm.addresses.at("memory")(instance_of("wasm:module")), "in-process");
}

TEST_F(default_strategies, do_not_exist_for_an_unknown_type) {
  const auto none = default_strategy(static_cast<runtime_type>(0), paths);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, errc::unsupported_runtime);
}

TEST(channel_config, sets_nothing_by_itself) {
  const channel_config config;
  EXPECT_FALSE(config.channel_type || config.address || config.connect_timeout_ms);
  EXPECT_FALSE(config.request_timeout_ms || config.keepalive_interval_ms || config.max_retries);
  EXPECT_TRUE(config.extra_config.empty());
  EXPECT_TRUE(check_config(config));
}

TEST(channel_config, is_refused_when_a_number_is_out_of_bounds) {
  const auto refused = [](auto&& change) {
    channel_config config;
    change(config);
    const auto good = check_config(config);
    return !good && good.error().code == errc::invalid_configuration;
  };
  EXPECT_TRUE(refused([](auto& config) { config.channel_type = ""; }));
  EXPECT_TRUE(refused([](auto& config) { config.address = ""; }));
  EXPECT_TRUE(refused([](auto& config) { config.connect_timeout_ms = 0; }));
  EXPECT_TRUE(refused([](auto& config) { config.connect_timeout_ms = ~0ull; }));
  EXPECT_TRUE(refused([](auto& config) { config.request_timeout_ms = ~0ull; }));
  EXPECT_TRUE(refused([](auto& config) { config.keepalive_interval_ms = ~0ull; }));
  EXPECT_TRUE(refused([](auto& config) { config.max_retries = 101; }));
}

}  // namespace
}  // namespace ferry
