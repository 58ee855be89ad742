// A host that forks: its child shares descriptors, but neither memory nor the right to use them.
#include "tests/e2e/e2e.h"
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

}  // namespace
}  // namespace ferry
