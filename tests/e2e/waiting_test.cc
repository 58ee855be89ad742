// How the two sides wait for each other: every mode, every depth of sleep, and what idleness costs.
#include <thread>

#include "tests/e2e/e2e.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

struct mode_name {
  wait_mode mode;
  const char* name;
};

class waiting : public e2e, public testing::WithParamInterface<mode_name> {
 protected:
  launched start_waiting() {
    client_options options;
    options.session.wait.mode = GetParam().mode;
    return start(options, std::string("mode=") + GetParam().name);
  }
};
INSTANTIATE_TEST_SUITE_P(mode, waiting,
                         testing::Values(mode_name{wait_mode::adaptive, "adaptive"},
                                         mode_name{wait_mode::spin, "spin"},
                                         mode_name{wait_mode::block, "block"}),
                         [](const auto& each) { return std::string(each.param.name); });

// Pauses that end in each state of a sleeper: still spinning, on the bell, in the reactor, and when
// the arena has let go of its memory.
constexpr std::chrono::milliseconds pauses[] = {0ms, 1ms, 10ms, 50ms, 1200ms};

TEST_P(waiting, hears_a_call_after_any_pause_in_which_the_host_was_elsewhere) {
  launched host = start_waiting();
  for (const auto pause : pauses) {
    EXPECT_EQ(ask(host, "echo", "before"), "before");
    EXPECT_TRUE(host.call("pattern", bytes_of("100000 100000")));
    std::this_thread::sleep_for(pause);
    EXPECT_EQ(ask(host, "echo", "after"), "after") << pause.count();
    const auto answer = host.call("pattern", bytes_of("100000 100000"));
    EXPECT_TRUE(answer && is_pattern(answer->bytes())) << pause.count();
  }
}

TEST_P(waiting, hears_an_answer_after_any_pause_in_which_the_host_waited) {
  launched host = start_waiting();
  const auto sleep = id_of(host, "sleep_ms");
  for (const auto pause : pauses) {
    const auto ms = std::to_string(pause.count());
    std::string answer;
    ASSERT_TRUE(
        host.call_async(sleep, bytes_of(ms), [&](call_result&& r) { answer = text_of(r); }));
    ASSERT_TRUE(drive(host, [&] { return !answer.empty(); }));
    EXPECT_EQ(answer, "slept") << ms;
    if (pause > 100ms) continue;  // a blocking call sleeps by the same rules: once is enough
    EXPECT_EQ(text_of(host.call(sleep, bytes_of(ms))), "slept") << ms;
  }
}

TEST_P(waiting, ends_at_the_time_that_run_once_was_given) {
  launched host = start_waiting();
  EXPECT_EQ(ask(host, "echo", "x"), "x");
  for (const auto limit : {1ms, 10ms, 50ms, 200ms}) {
    const auto before = steady::now();
    const auto ended = host.run_once(limit);
    ASSERT_TRUE(ended);
    EXPECT_EQ(*ended, 0u);
    EXPECT_GE(steady::now() - before, limit);
  }
}

TEST_P(waiting, of_many_short_calls_with_pauses_of_every_length_loses_none) {
  launched host = start_waiting();
  const auto echo = id_of(host, "echo");
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(text_of(host.call(echo, bytes_of("x"))), "x");
    const auto until = steady::now() + std::chrono::microseconds((i * 37) % 700);
    while (steady::now() < until) {
    }
  }
}

TEST_P(waiting, sees_the_worker_die_at_any_depth_of_sleep) {
  for (const auto pause : {0ms, 10ms, 60ms}) {
    launched host = start_waiting();
    const auto sleep = id_of(host, "sleep_ms"), die = id_of(host, "die");
    const auto ms = std::to_string(pause.count());
    ASSERT_TRUE(host.call_async(sleep, bytes_of(ms), [](call_result&&) {}));
    EXPECT_EQ(code_of(host.call(die, no_bytes)), errc::unavailable);
  }
}

TEST_P(waiting, of_an_idle_worker_costs_no_wakeup_at_all) {
  if (GetParam().mode == wait_mode::spin) GTEST_SKIP() << "expected: to spin is to be awake";
  launched host = start_waiting();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(ask(host, "echo", "x"), "x");
  const auto switches = [&] { return status_of(host.pid(), "voluntary_ctxt_switches"); };
  // Past the bell, into the reactor: two looks a good while apart find the same number.
  EXPECT_TRUE(eventually([&] {
    const auto before = switches();
    std::this_thread::sleep_for(100ms);
    return switches() == before;
  }));
  const auto before = switches();
  ASSERT_GT(before, 0);
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(switches(), before);
  EXPECT_EQ(ask(host, "echo", "awake"), "awake");
}

TEST_P(waiting, of_an_idle_host_costs_no_wakeup_at_all) {
  if (GetParam().mode == wait_mode::spin) GTEST_SKIP() << "expected: to spin is to be awake";
  launched host = start_waiting();
  EXPECT_EQ(ask(host, "echo", "x"), "x");
  const auto switches = [] { return status_of(::gettid(), "voluntary_ctxt_switches"); };
  const auto before = switches();
  ASSERT_TRUE(host.run_once(1s));
  EXPECT_LE(switches() - before, 10);  // yields, slices of the bell, one sleep in the reactor
}

using idle_memory = e2e;
constexpr std::int64_t large_kib = 64 << 10, small_kib = 8 << 10;

TEST_F(idle_memory, of_the_host_goes_back_while_it_waits) {
  launched host = start();
  auto sent = host.loan(64 << 20);
  ASSERT_TRUE(sent);
  write_pattern(sent->bytes());
  EXPECT_EQ(text_of(host.call("is_pattern", std::move(*sent))), "yes");
  EXPECT_GE(host.stats().arena_bytes, 64u << 20);
  EXPECT_TRUE(eventually([&] { return host.run_once(1500ms) && host.stats().arena_bytes == 0; }));
  // And the worker, though nobody calls it, does not keep it mapped.
  EXPECT_TRUE(eventually([&] { return status_of(host.pid(), "RssShmem") < small_kib; }));
}

TEST_F(idle_memory, of_the_host_goes_back_at_once_when_told) {
  launched host = start();
  EXPECT_TRUE(host.call("size", bytes_of(std::string(64 << 20, 'x'))));
  EXPECT_TRUE(eventually([&] {
    host.trim();
    return host.stats().arena_bytes == 0;
  }));
}

TEST_F(idle_memory, of_a_worker_goes_back_although_nobody_calls_it) {
  launched host = start();
  {
    const auto answer = host.call("pattern", bytes_of("67108864 67108864"));
    ASSERT_TRUE(answer) << answer.error().message();
    EXPECT_TRUE(is_pattern(answer->bytes()));
    EXPECT_GE(status_of(host.pid(), "RssShmem"), large_kib);
  }
  EXPECT_TRUE(eventually([&] { return status_of(host.pid(), "RssShmem") < small_kib; }));
  // And the host lets go of its view when it next looks.
  EXPECT_TRUE(host.run_once());
  EXPECT_TRUE(eventually([&] { return status_of(::getpid(), "RssShmem") < small_kib; }));
}

}  // namespace
}  // namespace ferry
