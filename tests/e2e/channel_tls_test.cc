// What TLS adds to a channel: who is believed, and what it costs in memory.
#include <malloc.h>

#include <future>

#include "perf/heap_count.h"
#include "tests/e2e/channel_listening.h"

namespace ferry {
namespace {

struct channel_tls : testing::Test {
  void SetUp() override {
    if (!has_transport("tls") || !reactor::create()) GTEST_SKIP() << "expected: no TLS here";
  }
};

TEST_F(channel_tls, peer_whose_certificate_is_not_known_is_refused) {
  listening here("tls");
  channel_options options;
  options.tls.host_name = "localhost";
  const channel_target where{"tls", here.listener->address()};
  auto refused = connect_channel(where, test_instance(), options);  // the system's authorities
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed) << refused.error().text;
  options.tls = client_tls(here.folder / "");
  options.tls.host_name = "elsewhere";
  refused = connect_channel(where, test_instance(), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed) << refused.error().text;
  options.tls.verify_peer = false;
  EXPECT_TRUE(connect_channel(where, test_instance(), options));
}

TEST_F(channel_tls, a_caller_whose_certificate_is_not_accepted_is_refused_for_good) {
  const private_folder folder;
  listener_options options;
  options.channel.tls = server_tls(folder / "");
  channel_options near;
  near.tls = client_tls(folder / "");
  options.channel.tls.authorities_file = near.tls.authorities_file;
  options.channel.tls.require_client_cert = true;
  auto thread = loop_thread::start();
  ASSERT_TRUE(thread);
  options.channel.loop = thread->loop();
  mailbox<channel_ptr> came;
  auto listener = channel_listener::open({"tls", "127.0.0.1:0"}, options,
                                         [&](channel_ptr made) { came.put(std::move(made)); });
  ASSERT_TRUE(listener) << listener.error().message();
  const channel_target target{"tls", (*listener)->address()};
  for (int round = 0; round < 20; ++round) {
    const auto refused = connect_channel(target, test_instance(), near);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::authentication_failed) << refused.error().message();
  }
  near.tls.certificate_file = options.channel.tls.certificate_file;
  near.tls.key_file = options.channel.tls.key_file;
  auto accepted = connect_channel(target, test_instance(), near);
  EXPECT_TRUE(accepted) << accepted.error().message();
  if (accepted) (*accepted)->close();
  (*listener)->close();
  while (auto made = came.take(0ns)) (*made)->close();
}

// Drives the near end for a while.
void drive(const channel_ptr& near, std::chrono::nanoseconds how_long) {
  loop driven = near->loop();
  const auto until = std::chrono::steady_clock::now() + how_long;
  while (std::chrono::steady_clock::now() < until) ASSERT_TRUE(driven.run_once(10ms));
}

TEST_F(channel_tls, a_large_message_waits_unsealed_for_a_peer_that_does_not_read) {
  constexpr std::size_t large = 32 << 20;
  channel_ends ends("tls");
  std::promise<void> release;
  ends.far_loop->loop().post([go_on = release.get_future().share()] { go_on.wait(); });
  message what = execution_request("f", payload::copy_of(std::vector<std::byte>(large)));
  heap_forget_largest();
  std::optional<bool> sent;
  ASSERT_TRUE(ends.near->send_async(std::move(what), [&](send_result&& how) { sent = bool{how}; }));
  drive(ends.near, 300ms);
  EXPECT_LT(heap_largest(), 512u << 10);
  release.set_value();
  const auto deadline = std::chrono::steady_clock::now() + generous;
  std::optional<message_result> came;
  while (!came && std::chrono::steady_clock::now() < deadline) {
    drive(ends.near, 10ms);
    came = ends.far->try_receive();
  }
  ASSERT_TRUE(came);
  ASSERT_TRUE(*came);
  EXPECT_EQ((**came).data.size(), large);
  EXPECT_EQ(sent, true);
}

TEST_F(channel_tls, memory_of_a_busy_time_is_given_back_when_it_is_over) {
  if (sanitized) GTEST_SKIP() << "expected: sanitizers hoard memory";
  const auto in_use = [] {
    const auto heap = ::mallinfo2();
    return static_cast<std::int64_t>(heap.uordblks + heap.hblkhd);
  };
  channel_ends ends("tls");
  ends.far->on_message([&](message&& asked) {
    (void)ends.far->reply(asked, execution_success(std::move(asked.data)));
  });
  const auto ask = [&](std::size_t bytes) {
    auto body = payload::copy_of(std::vector<std::byte>(bytes));
    EXPECT_TRUE(ends.near->request(execution_request("f", std::move(body)), generous));
  };
  ask(100);  // what is made once
  drive(ends.near, 1500ms);
  const auto before = in_use();
  for (int i = 0; i < 5; ++i) ask(4 << 20);
  drive(ends.near, 1500ms);
  EXPECT_TRUE(eventually([&] {
    drive(ends.near, 10ms);
    return in_use() - before < 256 << 10;  // each thread keeps a buffer to read into
  })) << in_use() - before;
  ask(4 << 20);  // and it goes on
}

}  // namespace
}  // namespace ferry
