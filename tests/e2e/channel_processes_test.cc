// Channels between processes: a peer of another user, one that stops, and a process that forks.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>

#include "engine/session/layout.h"
#include "shm/socket.h"
#include "tests/e2e/channel_fixture.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/process.h"
#include "tests/support/forked.h"

namespace ferry {
namespace {

constexpr uid_t nobody = 65534;

// Serves one channel after the other, in a process of its own, until it is killed.
void serve_at(const child_process& parent, const std::string& transport,
              const private_folder& folder) {
  channel_options options;
  if (transport == "tls") options.tls = server_tls(folder / "");
  std::vector<channel_ptr> all;
  auto driven = loop::create();
  if (!driven) return;
  options.loop = *driven;
  auto opened = channel_listener::open(
      target_of(transport, folder), {.channel = options, .tokens = {}, .admit = {}},
      [&](channel_ptr made) {
        made->on_message([to = std::weak_ptr(made)](message&& asked) {
          const auto chan = to.lock();
          if (chan) (void)chan->reply(asked, execution_success(std::move(asked.data)));
        });
        all.push_back(std::move(made));
      });
  parent.say(opened ? (*opened)->address() : "");
  while (opened && driven->run_once(1s)) {
  }
}

class channel_processes : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_processes, connecting_transports(), transport_name);
struct channel_users : channel_processes {
  void SetUp() override {
    channel_processes::SetUp();
    if (::geteuid() != 0) GTEST_SKIP() << "expected: only root can be another user";
  }
};
INSTANTIATE_TEST_SUITE_P(each, channel_users, testing::Values<std::string>("shm+unix", "unix"),
                         transport_name);

bool become_nobody() {
  return ::setgroups(0, nullptr) == 0 && ::setgid(nobody) == 0 && ::setuid(nobody) == 0;
}

TEST_P(channel_processes, peer_that_is_stopped_is_found_by_its_silence) {
  using clock = std::chrono::steady_clock;
  bool in_time = false;
  // One run in time will do: on a loaded machine others may be late, but none may be early.
  for (int run = 0; run < 10 && !in_time; ++run) {
    const private_folder folder;
    const child_process peer(
        [&](const child_process& self) { serve_at(self, GetParam(), folder); });
    const std::string address = peer.hear();
    ASSERT_NE(address, "");
    channel_options beating;
    beating.heartbeat = 100ms;
    if (GetParam() == "tls") beating.tls = client_tls(folder / "");
    auto near = connect_channel({GetParam(), address}, test_instance(), beating);
    ASSERT_TRUE(near) << near.error().message();
    const channel_ptr chan = *near;
    ASSERT_TRUE(chan->request(ack(), generous));
    // Alive and idle: beats keep it so for longer than the limit.
    const auto idle_until = clock::now() + 500ms;
    while (clock::now() < idle_until) ASSERT_TRUE(chan->loop().run_once(50ms));
    ASSERT_TRUE(chan->is_connected()) << chan->failure()->message();

    int ended = 0;
    errc how{};
    const auto ask = [&] {
      return chan->request_async(ack(), generous, [&](message_result&& outcome) {
        ++ended;
        how = code_of(outcome);
      });
    };
    const auto alive = clock::now();
    ASSERT_TRUE(ask());
    while (ended == 0) ASSERT_TRUE(chan->loop().run_once(generous));
    ASSERT_EQ(how, errc{});
    peer.signal(SIGSTOP);
    const auto silent = clock::now();
    ended = 0;
    ASSERT_TRUE(ask());
    while (!chan->failure()) ASSERT_TRUE(chan->loop().run_once(generous));
    const auto found = clock::now();
    EXPECT_GE(found - alive, 300ms);
    EXPECT_EQ(chan->failure()->code, errc::unavailable);
    EXPECT_EQ(chan->failure()->text, "no sign of life for 300 ms");
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(how, errc::unavailable);
    in_time = found - silent <= 330ms;  // 3 intervals and 10 percent
  }
  EXPECT_TRUE(in_time);
}

TEST_P(channel_users, caller_of_another_user_is_refused_and_told_so) {
  const private_folder folder;
  const child_process caller([&](const child_process& self) {
    const std::string address = self.hear();
    if (!become_nobody()) return self.say("cannot become another user");
    channel_options options;
    options.allowed_uids = {0};  // it would not talk to the listener either
    const auto made = connect_channel({GetParam(), address}, test_instance(), options);
    self.say(made ? "connected" : made.error().message());
  });
  auto thread = loop_thread::start();
  ASSERT_TRUE(thread);
  listener_options options;
  options.channel.loop = thread->loop();
  mailbox<channel_error> refused;
  mailbox<channel_ptr> accepted;
  auto opened = channel_listener::open(
      target_of(GetParam(), folder), options,
      [&](channel_ptr made) { accepted.put(std::move(made)); },
      [&](const channel_error& why) { refused.put(why); });
  ASSERT_TRUE(opened);
  // The first hurdle is the file system's; this is about the second.
  ASSERT_EQ(::chmod((folder / "").c_str(), 0755), 0);
  ASSERT_EQ(::chmod((*opened)->address().c_str(), 0666), 0);
  caller.say((*opened)->address());
  const auto why = refused.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, errc::authentication_failed);
  EXPECT_NE(why->text.find("user 65534 may not talk to user 0"), std::string::npos) << why->text;
  const std::string told = caller.hear();
  EXPECT_NE(told.find("user 65534 may not talk to user 0"), std::string::npos) << told;
  EXPECT_NE(told.find(name_of(errc::authentication_failed)), std::string::npos) << told;
  EXPECT_TRUE(connect_channel({GetParam(), (*opened)->address()}, test_instance()));
  EXPECT_EQ((*opened)->get_stats().refused, 1u);
  (*opened)->close();
  while (auto left = accepted.take(0ns)) (*left)->close();
}

TEST_P(channel_users, caller_of_another_user_is_given_no_memory) {
  if (GetParam() != "shm+unix") return;
  const private_folder folder;
  const child_process caller([&](const child_process& self) {
    const std::string address = self.hear();
    if (!become_nobody()) return self.say("cannot become another user");
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::memcpy(where.sun_path, address.data(), address.size());
    const unique_fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) {
      return self.say("cannot connect");
    }
    pollfd readable{socket.get(), POLLIN, 0};
    (void)::poll(&readable, 1, 30'000);
    std::array<std::byte, max_packet_bytes> first;
    const auto got = receive_packet(socket.get(), first);
    packet_header header{};
    if (!got || got->size_bytes < sizeof header) return self.say("no packet");
    std::memcpy(&header, first.data(), sizeof header);
    self.say(std::string(header.kind == packet_kind::reject ? "rejected" : "greeted") + " with " +
             std::to_string(got->fd_count) + " descriptors");
  });
  auto thread = loop_thread::start();
  ASSERT_TRUE(thread);
  listener_options options;
  options.channel.loop = thread->loop();
  auto opened = channel_listener::open(target_of(GetParam(), folder), options, [](channel_ptr) {});
  ASSERT_TRUE(opened);
  ASSERT_EQ(::chmod((folder / "").c_str(), 0755), 0);
  ASSERT_EQ(::chmod((*opened)->address().c_str(), 0666), 0);
  caller.say((*opened)->address());
  EXPECT_EQ(caller.hear(), "rejected with 0 descriptors");
  (*opened)->close();
}

TEST_P(channel_users, listener_of_another_user_is_refused_unless_allowed) {
  const private_folder folder;
  ASSERT_EQ(::chown((folder / "").c_str(), nobody, nobody), 0);
  const child_process peer([&](const child_process& self) {
    if (!become_nobody()) return self.say("");
    auto driven = loop::create();
    if (!driven) return self.say("");
    listener_options options;
    options.channel.loop = *driven;
    options.channel.allowed_uids = {0};
    std::vector<channel_ptr> all;
    auto opened = channel_listener::open(target_of(GetParam(), folder), options,
                                         [&](channel_ptr made) { all.push_back(made); });
    self.say(opened ? (*opened)->address() : "");
    while (opened && driven->run_once(1s)) {
    }
  });
  const std::string address = peer.hear();
  ASSERT_NE(address, "");
  const auto refused = connect_channel({GetParam(), address}, test_instance());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::authentication_failed);
  EXPECT_NE(refused.error().text.find("user 65534 may not talk to user 0"), std::string::npos);
  channel_options options;
  options.allowed_uids = {nobody};
  const auto made = connect_channel({GetParam(), address}, test_instance(), options);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ((*made)->peer().uid, nobody);
}

class channel_forks : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_forks, all_transports(), transport_name);

TEST_P(channel_forks, child_is_told_that_the_channel_is_not_its_own) {
  channel_ends ends(GetParam());
  ends.echo();
  const std::vector<std::byte> body(100'000);
  ASSERT_TRUE(ends.near->request(execution_request("f", payload::copy_of(body)), generous));
  const auto refused = [](const auto& outcome) {
    return !outcome && outcome.error().code == errc::not_supported &&
           outcome.error().text.find("forked child") != std::string::npos;
  };
  // Both ends: one whose loop nobody drives just now, one whose loop a thread of the parent drives.
  for (const channel_ptr& chan : {ends.near, ends.far}) {
    EXPECT_EQ(status_of_fork([&] {
                if (chan->is_connected()) return 1;
                if (!refused(chan->request(ack(), generous))) return 2;
                if (!refused(chan->send(ack()))) return 3;
                if (!refused(chan->receive(generous))) return 4;
                if (!refused(chan->borrow(1 << 20))) return 5;
                if (!refused(chan->request_async(ack(), 1s, [](message_result&&) {}))) return 6;
                if (!refused(chan->receive_async([](message_result&&) {}))) return 7;
                if (!refused(chan->send_async(ack(), [](send_result&&) {}))) return 8;
                if (!refused(chan->reply(1, ack()))) return 9;
                if (chan->failure()->code != errc::not_supported) return 10;
                chan->on_message([](message&&) {});
                (void)chan->get_stats();
                chan->close();
                channel_options options;
                options.loop = chan->loop();
                const auto other = connect_channel({"unix", "/"}, test_instance(), options);
                return refused(other) ? 0 : 11;
              }),
              0);
  }
  EXPECT_TRUE(ends.near->is_connected());
  EXPECT_TRUE(ends.far->is_connected());
  auto answer = ends.near->request(execution_request("f", payload::copy_of(body)), generous);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->data.size(), body.size());
}

TEST_P(channel_forks, child_that_drops_all_it_inherited_leaves_the_parent_alone) {
  channel_ends ends(GetParam());
  ends.echo();
  const std::vector<std::byte> body(100'000);
  int ended = 0;
  auto answer = ends.near->request(execution_request("f", payload::copy_of(body)), generous);
  ASSERT_TRUE(answer);
  mailbox<message> asked;
  ends.far->on_message([&](message&& what) { asked.put(std::move(what)); });
  ASSERT_TRUE(ends.near->request_async(execution_request("f"), generous,
                                       [&](message_result&& how) { ended += how ? 1 : 100; }));
  EXPECT_EQ(status_of_fork([&] {
              answer->data = {};
              ends.near.reset();
              ends.far.reset();
              if (ends.listener) ends.listener->close();
              ends.listener.reset();
              return ended;
            }),
            0);
  EXPECT_TRUE(ends.near->is_connected());
  const auto what = asked.take();
  ASSERT_TRUE(what);
  ASSERT_TRUE(ends.far->reply(*what, ack()));
  while (ended == 0) ASSERT_TRUE(ends.near->loop().run_once(generous));
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(answer->data.size(), body.size());
  // The parent still listens, and still hears of its channels' ends.
  if (ends.listener && GetParam() != "tls") {
    EXPECT_TRUE(connect_channel({GetParam(), ends.listener->address()}, test_instance()));
  }
  ends.far->close();
  while (!ends.near->failure()) ASSERT_TRUE(ends.near->loop().run_once(generous));
  EXPECT_EQ(ends.near->failure()->code, errc::closed);
  ends.far->on_message([](message&&) {});
}

TEST_P(channel_forks, child_makes_channels_of_its_own) {
  if (GetParam() == "memory" || GetParam() == "tls") return;  // nothing that a fork would touch
  channel_ends ends(GetParam());
  ends.echo();
  ASSERT_TRUE(ends.near->request(ack(), generous));
  EXPECT_EQ(status_of_fork([&] {
              auto mine = connect_channel({GetParam(), ends.listener->address()}, test_instance());
              return mine && (*mine)->is_connected() ? 0 : 1;
            }),
            0);
  EXPECT_TRUE(ends.near->request(ack(), generous));
}

}  // namespace
}  // namespace ferry
