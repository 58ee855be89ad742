#include "engine/channel/factory/factory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/unit/factory/fake_world.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using strings = std::vector<std::string>;

struct with_factory : testing::Test {  // fixture: processes are reached by unix, then by tcp
  fake_world fake;
  runtime_instance_id job = instance_of("process:job-7");
  channel_factory factory{fake.transports, options()};

  std::vector<channel_options> asked_for;

  with_factory() { EXPECT_TRUE(factory.register_strategy(strategy())); }

  // Both transports fail, and note what they are asked for.
  const std::vector<channel_options>& look_at_options() {
    const auto look = [this](const connect_request& request) -> channel_result {
      asked_for.push_back(request.options);
      return channel_error(errc::connection_failed, "no");
    };
    fake.add("unix", look);
    fake.add("tcp", look, true);
    return asked_for;
  }

  factory_options options() {
    factory_options chosen;
    chosen.world = fake.world();
    return chosen;
  }
  static channel_strategy strategy() {
    auto built = strategy_builder()
                     .runtime(runtime_type::process)
                     .preferred("unix",
                                [](const runtime_instance_id& id) -> address_result {
                                  return "/run/" + id.instance() + ".sock";
                                })
                     .fallback("tcp", "127.0.0.1:7")
                     .retries({.max_retries = 0})
                     .build();
    FERRY_CHECK(built);
    return *built;
  }
};

TEST_F(with_factory, makes_channels_of_ones_own_that_the_pool_does_not_know) {
  fake.add("unix");
  const auto first = factory.create_channel_for_instance(job);
  const auto second = factory.create_channel_for_instance(job);
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ((*first)->type(), "unix");
  EXPECT_EQ(factory.active_count(), 0u);
  EXPECT_FALSE(factory.has_channel(job));
}

TEST_F(with_factory, makes_a_channel_to_the_default_instance_of_a_type) {
  fake.add("unix");
  const auto chan = factory.create_channel(runtime_type::process);
  ASSERT_TRUE(chan);
  EXPECT_EQ((*chan)->instance_id().full_id(), "process:default");
  channel_config config;
  config.instance_id = job;
  EXPECT_EQ((*factory.create_channel(runtime_type::process, config))->instance_id(), job);
  EXPECT_EQ(factory.create_channel(runtime_type::wasm, config).error().code,
            errc::invalid_configuration);
}

TEST_F(with_factory, knows_only_runtime_types_with_a_strategy) {
  EXPECT_EQ(factory.supported_runtimes(), std::vector{runtime_type::process});
  EXPECT_EQ(factory.create_channel(runtime_type::wasm).error().code, errc::unsupported_runtime);
  EXPECT_EQ(factory.create_channel(static_cast<runtime_type>(9)).error().code,
            errc::unsupported_runtime);
  EXPECT_EQ(factory.get_or_create_channel(instance_of("wasm:a")).error().code,
            errc::unsupported_runtime);
  EXPECT_FALSE(factory.get_strategy(runtime_type::wasm));
}

TEST_F(with_factory, supports_a_channel_that_is_both_named_and_registered) {
  EXPECT_FALSE(factory.is_channel_supported(runtime_type::process, "unix"));
  fake.add("unix");
  fake.add("memory");
  EXPECT_TRUE(factory.is_channel_supported(runtime_type::process, "unix"));
  EXPECT_FALSE(factory.is_channel_supported(runtime_type::process, "tcp"));
  EXPECT_FALSE(factory.is_channel_supported(runtime_type::process, "memory"));
  EXPECT_FALSE(factory.is_channel_supported(runtime_type::wasm, "unix"));
}

TEST_F(with_factory, replaces_a_strategy_at_run_time) {
  fake.add("unix");
  fake.add("memory");
  auto other =
      strategy_builder().runtime(runtime_type::process).preferred("memory", "in-process").build();
  ASSERT_TRUE(factory.register_strategy(*other));
  EXPECT_EQ(factory.get_strategy(runtime_type::process)->preferred, "memory");
  EXPECT_EQ((*factory.create_channel_for_instance(job))->type(), "memory");
  other->addresses.clear();
  EXPECT_EQ(factory.register_strategy(*other).error().code, errc::invalid_configuration);
  EXPECT_EQ((*factory.create_channel_for_instance(job))->type(), "memory");
}

TEST_F(with_factory, uses_a_transport_that_was_added_later) {
  EXPECT_EQ(factory.create_channel_for_instance(job).error().code, errc::channel_creation_failed);
  fake.add("tcp");
  EXPECT_EQ((*factory.create_channel_for_instance(job))->type(), "tcp");
}

TEST_F(with_factory, tries_the_channel_of_a_config_first_and_others_at_their_own_addresses) {
  fake.add_failing("unix", errc::connection_failed);
  fake.add_failing("tcp", errc::connection_failed);
  channel_config config;
  config.max_retries = 0;
  config.channel_type = "tcp";
  config.address = "10.1.2.3:99";
  EXPECT_FALSE(factory.create_channel_for_instance(job, config));
  EXPECT_EQ(fake.tried(), (strings{"tcp 10.1.2.3:99", "unix /run/job-7.sock"}));
}

TEST_F(with_factory, makes_the_address_when_a_config_chooses_only_the_channel) {
  fake.add("tcp");
  channel_config config;
  config.channel_type = "tcp";
  EXPECT_EQ((*factory.create_channel_for_instance(job, config))->type(), "tcp");
  EXPECT_EQ(fake.tried(), strings{"tcp 127.0.0.1:7"});
}

// The strategy prefers another channel than SPEAR's default, which may be asked for all the same.
TEST_F(with_factory, tries_unix_first_for_a_config_that_asks_for_it) {
  fake.add("shm+unix");
  fake.add("unix");
  auto local = strategy_builder()
                   .runtime(runtime_type::process)
                   .preferred("shm+unix", "/run/a.shm")
                   .fallback("unix", "/run/a.sock")
                   .build();
  ASSERT_TRUE(factory.register_strategy(*local));
  channel_config config;
  config.channel_type = "unix";
  EXPECT_EQ((*factory.create_channel(runtime_type::process, config))->type(), "unix");
  EXPECT_EQ(fake.tried(), strings{"unix /run/a.sock"});
  EXPECT_EQ((*factory.create_channel(runtime_type::process, channel_config{}))->type(), "shm+unix");
}

TEST_F(with_factory, takes_an_address_alone_for_that_of_the_preferred_channel) {
  fake.add_failing("unix", errc::connection_failed);
  fake.add("tcp");
  channel_config config;
  config.address = "/run/elsewhere.sock";
  EXPECT_EQ((*factory.create_channel_for_instance(job, config))->type(), "tcp");
  EXPECT_EQ(fake.tried(), (strings{"unix /run/elsewhere.sock", "tcp 127.0.0.1:7"}));
}

TEST_F(with_factory, never_connects_to_the_default_address_that_anybody_could_own) {
  fake.add("unix");
  ASSERT_TRUE(factory.create_channel_for_instance(job, channel_config{}));
  EXPECT_EQ(fake.tried(), strings{"unix /run/job-7.sock"});
}

TEST_F(with_factory, refuses_a_config_that_does_not_fit) {
  fake.add("unix");
  channel_config config;
  config.channel_type = "grpc";
  EXPECT_EQ(factory.create_channel_for_instance(job, config).error().code,
            errc::unsupported_channel);
  config = {};
  config.connect_timeout_ms = 0;
  EXPECT_EQ(factory.create_channel_for_instance(job, config).error().code,
            errc::invalid_configuration);
  config = {};
  config.instance_id = instance_of("process:other");
  EXPECT_EQ(factory.create_channel_for_instance(job, config).error().code,
            errc::invalid_configuration);
  EXPECT_TRUE(fake.tried().empty());
}

TEST_F(with_factory, hands_the_numbers_of_a_config_to_the_transport) {
  const auto& seen = look_at_options();
  channel_config config;
  config.connect_timeout_ms = 1500;
  config.request_timeout_ms = 0;
  config.keepalive_interval_ms = 2500;
  config.max_retries = 1;
  EXPECT_FALSE(factory.create_channel_for_instance(job, config));
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].connect_timeout, 1500ms);
  EXPECT_EQ(seen[0].request_timeout, channel::no_limit);
  EXPECT_EQ(seen[0].heartbeat, 0ns);
  EXPECT_EQ(seen[3].heartbeat, 2500ms);
}

TEST_F(with_factory, leaves_what_a_config_does_not_set_to_the_strategy_and_the_factory) {
  const auto& seen = look_at_options();
  factory_options own = options();
  own.keepalive = 77s;
  own.channel.request_timeout = 99s;
  channel_factory patient(fake.transports, own);
  auto chosen = strategy();
  chosen.retry.max_retries = 1;
  chosen.connect_timeout = 88s;
  ASSERT_TRUE(patient.register_strategy(chosen));
  EXPECT_FALSE(patient.create_channel_for_instance(job, channel_config{}));
  ASSERT_EQ(seen.size(), 4u);
  for (const channel_options& each : seen) {
    EXPECT_EQ(each.connect_timeout, 88s);
    EXPECT_EQ(each.request_timeout, 99s);
  }
  EXPECT_EQ(seen[3].heartbeat, 77s);
  asked_for.clear();
  channel_config config;
  config.request_timeout_ms = 5;  // this alone
  EXPECT_FALSE(patient.create_channel_for_instance(job, config));
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[3].connect_timeout, 88s);
  EXPECT_EQ(seen[3].request_timeout, 5ms);
  EXPECT_EQ(seen[3].heartbeat, 77s);
}

TEST_F(with_factory, uses_the_figures_of_spear_unless_told_otherwise) {
  std::vector<channel_options> seen;
  fake.add(
      "tcp",
      [&](const connect_request& request) -> channel_result {
        seen.push_back(request.options);
        return channel_error(errc::connection_failed, "no");
      },
      true);
  auto plain =
      strategy_builder().runtime(runtime_type::process).preferred("tcp", "127.0.0.1:7").build();
  ASSERT_TRUE(factory.register_strategy(*plain));
  for (const auto& config : {std::optional<channel_config>(), std::optional(channel_config())}) {
    seen.clear();
    EXPECT_FALSE(factory.create_channel_for_instance(job, config));
    ASSERT_EQ(seen.size(), 4u);  // the first and 3 more
    EXPECT_EQ(seen[0].connect_timeout, 5s);
    EXPECT_EQ(seen[0].request_timeout, 30s);
    EXPECT_EQ(seen[0].heartbeat, 10s);
  }
}

TEST_F(with_factory, pools_one_channel_for_each_instance) {
  fake.add("unix");
  const auto other = instance_of("ns:process:job-7");
  const auto chan = factory.get_or_create_channel(job);
  ASSERT_TRUE(chan);
  EXPECT_EQ(*factory.get_or_create_channel(job), *chan);
  EXPECT_NE(*factory.get_or_create_channel(other), *chan);
  EXPECT_EQ(factory.active_count(), 2u);
  EXPECT_EQ(factory.active_instances(), (std::vector{job, other}));
  EXPECT_TRUE(factory.stats_of(job));
  EXPECT_TRUE(factory.close_channel(job));
  EXPECT_FALSE((*chan)->is_connected());
  EXPECT_FALSE(factory.close_channel(job));
  EXPECT_FALSE(factory.stats_of(job));
  EXPECT_TRUE(factory.has_channel(other));
  EXPECT_EQ(factory.close_all(), 1u);
  EXPECT_EQ(factory.active_count(), 0u);
}

TEST_F(with_factory, pools_nothing_of_a_creation_that_failed) {
  fake.add_failing("unix", errc::connection_failed);
  const auto failed = factory.get_or_create_channel(job);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, errc::channel_creation_failed);
  EXPECT_EQ(failed.error().attempted_types, (strings{"unix", "tcp"}));
  EXPECT_FALSE(factory.has_channel(job));
  fake.add("unix");
  EXPECT_TRUE(factory.get_or_create_channel(job));
}

TEST(factory, leaves_pooled_channels_to_those_who_still_hold_them) {
  fake_world fake;
  fake.add("unix");
  channel_ptr chan;
  {
    channel_factory factory(fake.transports);
    ASSERT_TRUE(factory.register_strategy(with_factory::strategy()));
    chan = *factory.get_or_create_channel(instance_of("process:a"));
  }
  EXPECT_TRUE(chan->is_connected());
}

// Everything at once, at random: strategies and transports change while channels are made, shared,
// broken and closed.
TEST_F(with_factory, stands_every_operation_from_many_threads) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  fake.add("unix");
  fake.add("tcp");
  auto reversed = strategy_builder()
                      .runtime(runtime_type::process)
                      .preferred("tcp", "127.0.0.1:7")
                      .fallback("unix", "/run/x.sock")
                      .retries({.max_retries = 0})
                      .build();
  ASSERT_TRUE(reversed);
  const std::array ids{job, instance_of("process:b"), instance_of("ns:process:b")};
  const auto work = [&](unsigned number) {
    std::mt19937 random(seed + number);
    for (int step = 0; step < 1000; ++step) {
      const auto& id = ids[random() % ids.size()];
      switch (random() % 10) {
        case 0:
          EXPECT_TRUE(factory.register_strategy(random() % 2 ? *reversed : strategy()));
          break;
        case 1: factory.close_channel(id); break;
        case 2: EXPECT_LE(factory.active_instances().size(), ids.size()); break;
        case 3: EXPECT_TRUE(factory.create_channel_for_instance(id)); break;
        case 4: fake.add("unix"); break;
        case 5: (void)factory.stats_of(id); break;
        case 6:
          if (random() % 8 == 0) factory.close_all();
          break;
        default: {
          const auto got = factory.get_or_create_channel(id);
          if (!got) {
            EXPECT_EQ(got.error().code, errc::closed);
          } else {
            EXPECT_EQ((*got)->instance_id(), id);
            if (random() % 4 == 0) dynamic_cast<fake_channel&>(**got).break_link();
          }
        }
      }
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(work, i);
  threads.clear();
  for (const auto& id : ids) EXPECT_TRUE(factory.get_or_create_channel(id));
  EXPECT_EQ(factory.active_count(), ids.size());
}

}  // namespace
}  // namespace ferry
