// Channels between processes when something runs short: room in the inbox of one whose peer dies,
// descriptors of one that listens.
#include <sys/resource.h>

#include <thread>

#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

constexpr auto watched = 500ms;
constexpr auto idle_most = 150ms;  // of CPU while watched; whoever spins takes all that it gets

class channel_shortage : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_shortage, connecting_transports(), transport_name);

auto listen_on(loop& driven, const std::string& transport, const private_folder& folder,
               channel_listener::on_accepted accepted) {
  listener_options options;
  options.channel.loop = driven;
  if (transport == "tls") options.channel.tls = server_tls(folder / "");
  return channel_listener::open(target_of(transport, folder), options, std::move(accepted));
}

// --- of room ------------------------------------------------------------------------------------

constexpr int all_messages = 100, full_inbox = 4;

// Sends all to the first who comes, says so, and waits to be killed.
void send_all_at(const child_process& parent, const std::string& transport,
                 const private_folder& folder) {
  auto driven = loop::create();
  if (!driven) return;
  channel_ptr first;
  auto opened =
      listen_on(*driven, transport, folder, [&](channel_ptr made) { first = std::move(made); });
  parent.say(opened ? (*opened)->address() : "");
  while (opened && !first) (void)driven->run_once(1s);
  for (int i = 0; opened && i < all_messages; ++i) {
    (void)first->send(execution_request(std::to_string(i)));
  }
  parent.say("sent");
  while (opened && driven->run_once(1s)) {
  }
}

class channel_whose_peer_dies {
 public:
  explicit channel_whose_peer_dies(const std::string& transport)
      : peer_([&](const child_process& self) { send_all_at(self, transport, folder_); }) {
    const std::string address = peer_.hear();
    EXPECT_NE(address, "");
    channel_options options;
    options.inbox_messages = full_inbox;
    if (transport == "tls") options.tls = client_tls(folder_ / "");
    auto made = connect_channel({transport, address}, test_instance(), options);
    EXPECT_TRUE(made) << made.error().message();
    if (!made) return;
    chan = *made;
    while (chan->get_stats().inbox_depth < full_inbox && chan->loop().run_once(generous)) {
    }
    EXPECT_EQ(peer_.hear(), "sent");
    peer_.signal(SIGKILL);
    EXPECT_EQ(peer_.hear(), "");  // dead: the pipe has closed
  }
  // What the peer had sent, in order and at least so much, and then why there will be no more.
  void expect_messages_and_then_the_error(int at_least) {
    int came = 0;
    auto next = chan->receive(generous);
    for (; next; next = chan->receive(generous)) {
      ASSERT_EQ(next->function, std::to_string(came++));
    }
    EXPECT_GE(came, at_least);
    EXPECT_LE(came, all_messages);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(code_of(next), errc::unavailable) << next.error().message();
      next = chan->receive(generous);
    }
    ASSERT_TRUE(chan->failure());
    EXPECT_EQ(chan->failure()->code, errc::unavailable);
    EXPECT_FALSE(chan->is_connected());
    EXPECT_EQ(chan->get_stats().connection_errors, 1u);
  }

  channel_ptr chan;

 private:
  private_folder folder_;
  child_process peer_;
};

TEST_P(channel_shortage, of_room_loses_nothing_of_a_peer_that_was_killed) {
  channel_whose_peer_dies it(GetParam());
  ASSERT_TRUE(it.chan);
  loop driven = it.chan->loop();
  // The end of the link is no reason to hurry, nor to forget what lies in it.
  EXPECT_LT(cpu_time_of([&] {
              const auto until = std::chrono::steady_clock::now() + watched;
              while (std::chrono::steady_clock::now() < until) {
                ASSERT_TRUE(driven.run_once(50ms));
              }
            }),
            idle_most);
  it.expect_messages_and_then_the_error(all_messages);
}

TEST_P(channel_shortage, of_room_loses_nothing_when_the_broken_link_is_written_to) {
  channel_whose_peer_dies it(GetParam());
  ASSERT_TRUE(it.chan);
  loop driven = it.chan->loop();
  const std::vector<std::byte> body(10'000);
  for (int i = 0; i < 5; ++i) {  // the first may still be taken by a kernel that has not noticed
    (void)it.chan->send(execution_request("f", payload::copy_of(body)), {false, {}});
    ASSERT_TRUE(driven.run_once(10ms));
  }
  std::optional<errc> ended;
  const auto asked = it.chan->request_async(execution_request("f"), generous,
                                            [&](message_result&& how) { ended = code_of(how); });
  // What a dead peer's TCP had not delivered yet is thrown away when it is written to. What had
  // been taken in is not.
  const bool local = GetParam() == "unix" || GetParam() == "shm+unix";
  it.expect_messages_and_then_the_error(local ? all_messages : full_inbox);
  EXPECT_EQ(ended.value_or(errc{}), asked ? errc::unavailable : errc{});
}

// --- of descriptors -----------------------------------------------------------------------------

constexpr int spare_descriptors = 12;

// Listens with few descriptors to spare, until it is killed.
void listen_in_want(const child_process& parent, const std::string& transport,
                    const private_folder& folder) {
  auto driven = loop::create();
  if (!driven) return;
  std::vector<channel_ptr> all;
  auto opened = listen_on(*driven, transport, folder, [&](channel_ptr made) {
    made->on_message([to = std::weak_ptr(made)](message&& asked) {
      const auto chan = to.lock();
      if (chan) (void)chan->reply(asked, execution_success(std::move(asked.data)));
    });
    all.push_back(std::move(made));
  });
  rlimit descriptors{};
  (void)::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = 0;
  for (int free = 0; free < spare_descriptors; ++descriptors.rlim_cur) {
    free += ::fcntl(static_cast<int>(descriptors.rlim_cur), F_GETFD) < 0;
  }
  if (::setrlimit(RLIMIT_NOFILE, &descriptors) != 0) return;
  parent.say(opened ? (*opened)->address() : "");
  while (opened && driven->run_once(1s)) {
    std::erase_if(all, [](const channel_ptr& each) { return each->failure().has_value(); });
  }
}

TEST_P(channel_shortage, of_descriptors_is_waited_out_by_a_listener_without_spinning) {
  const private_folder folder;
  const child_process peer(
      [&](const child_process& self) { listen_in_want(self, GetParam(), folder); });
  const std::string address = peer.hear();
  ASSERT_NE(address, "");
  const channel_target where{GetParam(), address};
  auto driven = loop::create();
  ASSERT_TRUE(driven);
  channel_options options;
  options.loop = *driven;
  if (GetParam() == "tls") options.tls = client_tls(folder / "");

  std::vector<channel_ptr> held;
  options.connect_timeout = 500ms;  // not waited for where it is refused
  for (;;) {
    auto made = connect_channel(where, test_instance(), options);
    if (!made) break;
    held.push_back(std::move(*made));
    ASSERT_LE(held.size(), static_cast<std::size_t>(spare_descriptors));
  }
  ASSERT_GE(held.size(), 2u);

  // Whoever comes now waits before its door, or is refused; those inside are served.
  options.connect_timeout = generous;
  std::optional<channel_result> late;
  ASSERT_TRUE(connect_channel_async(where, test_instance(), options,
                                    [&](channel_result&& how) { late.emplace(std::move(how)); }));
  const auto before = cpu_time_of(peer.pid());
  const auto until = std::chrono::steady_clock::now() + watched;
  while (std::chrono::steady_clock::now() < until) ASSERT_TRUE(driven->run_once(50ms));
  EXPECT_LT(cpu_time_of(peer.pid()) - before, idle_most);
  for (const channel_ptr& each : held) EXPECT_TRUE(each->request(ack(), generous));
  const bool plain = GetParam() == "unix" || GetParam() == "tcp";
  if (plain) {  // all that these take is the socket: exactly as many as fit
    EXPECT_EQ(held.size(), static_cast<std::size_t>(spare_descriptors));
    EXPECT_FALSE(late) << "let in without a descriptor";
  }

  while (held.size() > 1) {
    held.back()->close();
    held.pop_back();
  }
  while (!late) ASSERT_TRUE(driven->run_once(generous));
  EXPECT_TRUE(*late || !plain) << late->error().message();
  std::vector<channel_ptr> fresh;
  ASSERT_TRUE(eventually([&] {  // the listener hears of the ends in its own time
    auto made = connect_channel(where, test_instance(), options);
    if (made) fresh.push_back(std::move(*made));
    return !fresh.empty();
  }));
  EXPECT_TRUE(fresh.front()->request(ack(), generous));
  EXPECT_TRUE(held.front()->request(ack(), generous));
}

}  // namespace
}  // namespace ferry
