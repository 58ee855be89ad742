// A host that forks: its child shares descriptors, but neither memory nor the right to use them.
#include <array>
#include <atomic>
#include <future>

#include "tests/e2e/e2e.h"
#include "tests/support/attached.h"
#include "tests/support/forked.h"

namespace ferry {
namespace {

class forked : public e2e {};

TEST_F(forked, child_is_told_that_the_client_is_not_its_own) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  EXPECT_EQ(status_of_fork([&] {
              if (host.connected()) return 1;
              if (code_of(host.call(echo, bytes_of("x"))) != errc::not_supported) return 2;
              if (code_of(host.run_once(1s)) != errc::not_supported) return 3;
              if (host.loan(1 << 20)) return 4;
              if (host.server_stream("echo", no_bytes).read()) return 5;
              host.close();
              return 0;
            }),
            0);
  EXPECT_TRUE(host.connected());
  EXPECT_EQ(ask(host, "echo", "still here"), "still here");
}

TEST_F(forked, child_that_destroys_all_it_inherited_leaves_the_parent_alone) {
  const std::string large(1 << 20, 'x');
  auto host = std::make_unique<launched>(start());
  const auto hold = id_of(*host, "hold");
  int ended = 0;
  ASSERT_TRUE(host->call_async(hold, no_bytes, [&](call_result&& r) { ended += r ? 1 : 100; }));
  auto unsent = host->loan(large.size());
  ASSERT_TRUE(unsent);
  auto answer = host->call("echo", bytes_of(large));
  ASSERT_TRUE(answer);
  EXPECT_EQ(status_of_fork([&] {
              *unsent = loan();
              *answer = body();
              host.reset();
              return ended;
            }),
            0);
  EXPECT_EQ(answer->text(), large);
  EXPECT_EQ(ask(*host, "release"), "released");
  ASSERT_TRUE(drive(*host, [&] { return ended != 0; }));
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(ask(*host, "echo", large), large);
}

TEST_F(forked, child_may_launch_a_worker_of_its_own) {
  launched host = start();
  EXPECT_EQ(status_of_fork([&] {
              auto mine = launch({neighbour("test-worker")});
              return mine && ask(*mine, "echo", "mine") == "mine" ? 0 : 1;
            }),
            0);
  EXPECT_EQ(ask(host, "echo", "parent's"), "parent's");
}

TEST_F(forked, child_of_a_host_with_a_loop_thread_can_go) {
  auto driven = loop_thread::start();
  ASSERT_TRUE(driven);
  client_options options;
  options.loop = driven->loop();
  auto host = std::make_unique<launched>(start(options));
  EXPECT_EQ(ask(*host, "echo", "a"), "a");
  EXPECT_EQ(status_of_fork([&] {
              host.reset();
              return 0;
            }),
            0);
  EXPECT_EQ(ask(*host, "echo", "b"), "b");
}

// The loop's thread holds the wheel for ever in the child, where that thread is not.
TEST_F(forked, child_may_destroy_coroutines_that_wait_on_its_parents_loop) {
  const method<streamed<int>(streamed<int>)> talk{"talk"};
  const method<int(streamed<int>)> sum{"sum"};
  auto driven = loop_thread::start();
  ASSERT_TRUE(driven);
  worker w;  // answers nothing and takes no item
  client_options options;
  options.loop = driven->loop();
  client host = attach_to(w, options);
  std::atomic<int> waiting{0};
  const auto sleeps = [&]() -> task<> {
    ++waiting;
    co_await driven->loop().sleep_for(generous);
  };
  const auto reads = [&]() -> task<> {
    auto both = host.open(talk, {.idle_timeout = generous});
    ++waiting;
    (void)co_await both.responses().next();
  };
  const auto writes = [&]() -> task<> {
    auto up = host.upload(sum, {.idle_timeout = generous});
    ++waiting;
    while (co_await up.send(1)) {  // until the credit is spent
    }
  };
  std::array<spawned, 3> all;
  driven->loop().post([&] {
    all = {ferry::start(sleeps()), ferry::start(reads()), ferry::start(writes())};
  });
  ASSERT_TRUE(eventually([&] { return waiting == 3; }));
  std::this_thread::sleep_for(100ms);  // the loop sleeps
  for (spawned& one : all) {
    EXPECT_EQ(status_of_fork([&] {
                ::alarm(20);  // a child that hangs
                one = {};
                return 0;
              }),
              0);
  }
  EXPECT_EQ(status_of_fork([&] {
              ::alarm(20);
              return driven->loop().fd() >= 0 ? 0 : 1;
            }),
            0);
  std::promise<void> gone;
  driven->loop().post([&] {
    all = {};
    gone.set_value();
  });
  EXPECT_EQ(gone.get_future().wait_for(generous), std::future_status::ready);
}

TEST_F(forked, child_may_ask_for_the_descriptor_of_its_parents_loop) {
  launched host = start();
  EXPECT_EQ(ask(host, "echo", "a"), "a");
  EXPECT_EQ(status_of_fork([&] { return host.fd() >= 0 && host.loop().fd() >= 0 ? 0 : 1; }), 0);
  const auto echo = id_of(host, "echo");
  std::string answer;
  ASSERT_TRUE(host.call_async(echo, bytes_of("b"), [&](call_result&& r) { answer = text_of(r); }));
  ASSERT_TRUE(drive(host, [&] { return !answer.empty(); }));
  EXPECT_EQ(answer, "b");
}

}  // namespace
}  // namespace ferry
