#include "engine/channel/factory/memory_endpoints.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/factory/fake_world.h"

namespace ferry {
namespace {

struct endpoints_of_fakes : testing::Test {  // fixture: pairs of fakes, and what was accepted
  std::shared_ptr<memory_endpoints> endpoints =
      memory_endpoints::create([](const runtime_instance_id& instance, const channel_options&,
                                  const channel_options&) -> memory_endpoints::pair_result {
        return std::pair<channel_ptr, channel_ptr>(
            std::make_shared<fake_channel>(instance, "memory"),
            std::make_shared<fake_channel>(instance, "memory"));
      });
  std::vector<channel_ptr> accepted;

  memory_endpoints::acceptor keeping() {
    return [this](channel_ptr chan) -> result<void, channel_error> {
      accepted.push_back(std::move(chan));
      return {};
    };
  }
  channel_result connect(const char* full_id, const char* name = "in-process") {
    return endpoints->connect({instance_of(full_id), "memory", name, {}, {}});
  }
};

TEST_F(endpoints_of_fakes, join_a_connector_and_a_listener_of_one_name) {
  EXPECT_EQ(connect("wasm:a").error().code, errc::connection_failed);
  auto listening = endpoints->listen("in-process", {}, keeping());
  ASSERT_TRUE(listening);
  const auto chan = connect("wasm:a");
  ASSERT_TRUE(chan);
  ASSERT_EQ(accepted.size(), 1u);
  EXPECT_NE(*chan, accepted[0]);
  EXPECT_EQ(accepted[0]->instance_id().full_id(), "wasm:a");
  EXPECT_EQ(connect("wasm:a", "elsewhere").error().code, errc::connection_failed);
}

TEST_F(endpoints_of_fakes, refuse_a_second_listener_of_one_name) {
  auto listening = endpoints->listen("in-process", {}, keeping());
  EXPECT_EQ(endpoints->listen("in-process", {}, keeping()).error().code, errc::refused);
  EXPECT_TRUE(endpoints->listen("another", {}, keeping()));
}

TEST_F(endpoints_of_fakes, free_the_name_when_the_listening_ends) {
  {
    auto listening = endpoints->listen("in-process", {}, keeping());
    auto moved = std::move(*listening);
    EXPECT_TRUE(connect("wasm:a"));
  }
  EXPECT_FALSE(connect("wasm:a"));
  auto again = endpoints->listen("in-process", {}, keeping());
  EXPECT_TRUE(again);
  EXPECT_TRUE(connect("wasm:a"));
}

TEST_F(endpoints_of_fakes, tell_the_connector_why_the_listener_refused) {
  channel_ptr theirs;
  auto listening =
      endpoints->listen("in-process", {}, [&](channel_ptr chan) -> result<void, channel_error> {
        theirs = std::move(chan);
        return channel_error(errc::authentication_failed, "not you");
      });
  const auto chan = connect("wasm:a");
  ASSERT_FALSE(chan);
  EXPECT_EQ(chan.error().code, errc::authentication_failed);
}

TEST_F(endpoints_of_fakes, may_be_used_while_they_accept) {
  memory_endpoints::acceptor inner = keeping();
  auto listening =
      endpoints->listen("in-process", {}, [&](channel_ptr chan) -> result<void, channel_error> {
        auto other = endpoints->listen("inner", {}, keeping());
        EXPECT_TRUE(other);
        EXPECT_TRUE(connect("wasm:b", "inner"));
        return inner(std::move(chan));
      });
  EXPECT_TRUE(connect("wasm:a"));
  EXPECT_EQ(accepted.size(), 2u);
}

TEST_F(endpoints_of_fakes, outlive_neither_their_owner_nor_their_listeners) {
  auto listening = endpoints->listen("in-process", {}, keeping());
  ferry::connector connector = endpoints->connector();
  std::weak_ptr<memory_endpoints> watched = endpoints;
  endpoints.reset();
  EXPECT_FALSE(watched.expired());  // the connector holds them
  connector = {};
  EXPECT_TRUE(watched.expired());  // and the listening, which is still there, does not
}

TEST_F(endpoints_of_fakes, stand_connectors_and_listeners_that_come_and_go) {
  std::atomic<int> reached = 0, missed = 0, taken = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 500; ++round) {
          auto listening =
              endpoints->listen("in-process", {}, [&](channel_ptr) -> result<void, channel_error> {
                ++taken;
                return {};
              });
          std::this_thread::yield();
        }
      });
      threads.emplace_back([&] {
        for (int round = 0; round < 500; ++round) ++(connect("wasm:a") ? reached : missed);
      });
    }
  }
  EXPECT_EQ(reached + missed, 1000);
  EXPECT_EQ(taken, reached);
}

}  // namespace
}  // namespace ferry
