// Two instances, each a process with a channel of its own: whatever becomes of one, the other's
// calls go on without an error.
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>

#include "tests/e2e/channel_fixture.h"

namespace ferry {
namespace {

class channel_isolation : public over_each_transport {};
INSTANTIATE_TEST_SUITE_P(each, channel_isolation, testing::Values<std::string>("shm+unix", "unix"),
                         transport_name);

enum class manners { echo, flood, garbage };

// A process that serves one channel over an inherited socket.
class instance_process {
 public:
  instance_process(const std::string& transport, manners how, ferry::loop& driven_by) {
    std::array<int, 2> ends{};
    const int type = transport == "unix" ? SOCK_STREAM : SOCK_SEQPACKET;
    EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()), 0);
    unique_fd near(ends[0]), far(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      near = unique_fd();
      ::_exit(serve(std::move(far), how));
    }
    far = unique_fd();
    channel_options options;
    options.loop = driven_by;
    options.inbox_messages = 64;
    auto made = adopt_channel(std::move(near), false, test_instance(), options);
    EXPECT_TRUE(made) << made.error().message();
    if (made) channel = *made;
  }
  ~instance_process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void signal(int number) const { ::kill(pid_, number); }

  channel_ptr channel;

 private:
  static int serve(unique_fd socket, manners how) {
    const int raw = ::dup(socket.get());
    auto made = adopt_channel(std::move(socket), true, test_instance());
    if (!made) return 1;
    if (how == manners::garbage) {
      (void)(*made)->receive(1s);  // the handshake has reached the other side by now
      const std::string noise(1 << 16, '\xa5');
      (void)::send(raw, noise.data(), noise.size(), MSG_NOSIGNAL);
      ::pause();
    }
    if (how == manners::flood) {
      const std::vector<std::byte> body(1000);
      while ((*made)->send(execution_request("flood", payload::copy_of(body)))) {
      }
      return 0;
    }
    while (auto asked = (*made)->receive()) {
      (void)(*made)->reply(*asked, execution_success(std::move(asked->data)));
    }
    return 0;
  }
  pid_t pid_ = -1;
};

// A fixed load on `over`: how many calls failed, and the slowest.
struct load_outcome {
  int failed = 0;
  std::chrono::nanoseconds slowest{};
};
load_outcome fixed_load(channel& over, int calls) {
  load_outcome all;
  const std::vector<std::byte> body(500);
  for (int i = 0; i < calls; ++i) {
    const auto began = std::chrono::steady_clock::now();
    auto answer = over.request(execution_request("echo", payload::copy_of(body)), generous);
    all.failed += !answer || answer->data.size() != body.size();
    all.slowest = std::max(all.slowest, std::chrono::steady_clock::now() - began);
  }
  return all;
}

TEST_P(channel_isolation, misfortune_of_one_instance_is_not_seen_by_the_other) {
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  instance_process healthy(GetParam(), manners::echo, *shared);
  ASSERT_TRUE(healthy.channel);
  const auto unharmed = [&](const char* what) {
    const load_outcome load = fixed_load(*healthy.channel, sanitized ? 100 : 1000);
    EXPECT_EQ(load.failed, 0) << what;
    EXPECT_LT(load.slowest, 5s) << what;
    EXPECT_TRUE(healthy.channel->is_connected()) << what;
  };
  unharmed("alone");
  {
    instance_process flooding(GetParam(), manners::flood, *shared);
    unharmed("flood");
    EXPECT_LE(flooding.channel->get_stats().inbox_depth, 64u);
    flooding.signal(SIGKILL);
  }
  {
    instance_process lying(GetParam(), manners::garbage, *shared);
    ASSERT_TRUE(lying.channel->send(ack()));
    unharmed("garbage");
    ASSERT_TRUE(eventually([&] {
      (void)shared->run_once(10ms);
      return lying.channel->failure().has_value();
    }));
    EXPECT_EQ(lying.channel->failure()->code, errc::corrupt);
    EXPECT_EQ(lying.channel->get_stats().connection_errors, 1u);
  }
  {
    instance_process stopped(GetParam(), manners::echo, *shared);
    ASSERT_EQ(fixed_load(*stopped.channel, 10).failed, 0);
    stopped.signal(SIGSTOP);
    errc outcome{};
    ASSERT_TRUE(stopped.channel->request_async(
        ack(), 100ms, [&](message_result&& how) { outcome = code_of(how); }));
    unharmed("SIGSTOP");
    while (outcome == errc{}) ASSERT_TRUE(shared->run_once(generous));
    EXPECT_EQ(outcome, errc::timeout);
  }
  {
    instance_process killed(GetParam(), manners::echo, *shared);
    ASSERT_EQ(fixed_load(*killed.channel, 10).failed, 0);
    errc outcome{};
    killed.signal(SIGSTOP);
    ASSERT_TRUE(killed.channel->request_async(
        ack(), generous, [&](message_result&& how) { outcome = code_of(how); }));
    killed.signal(SIGKILL);
    while (outcome == errc{}) ASSERT_TRUE(shared->run_once(generous));
    EXPECT_EQ(outcome, errc::unavailable);
    unharmed("SIGKILL");
  }
}

TEST_P(channel_isolation, peer_is_known_by_its_process_and_user) {
  auto shared = loop::create();
  ASSERT_TRUE(shared);
  const instance_process peer(GetParam(), manners::echo, *shared);
  ASSERT_TRUE(peer.channel);
  EXPECT_TRUE(peer.channel->peer().pid.has_value());
  EXPECT_EQ(peer.channel->peer().uid, ::getuid());
}

}  // namespace
}  // namespace ferry
