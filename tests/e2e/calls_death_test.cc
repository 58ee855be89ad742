// What a host sees when its worker dies, and a worker when its host does.
#include <fcntl.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <thread>

#include "shm/socket.h"
#include "tests/e2e/e2e.h"
#include "tests/e2e/process.h"

namespace ferry {
namespace {

using calls_death = e2e;

TEST_F(calls_death, of_the_worker_ends_the_call_that_killed_it) {
  launched host = start();
  const auto outcome = host.call("die", no_bytes);
  EXPECT_EQ(code_of(outcome), errc::unavailable);
  EXPECT_TRUE(outcome.error().maybe_executed);
  EXPECT_FALSE(host.connected());
  const auto status = host.process().wait(generous);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGKILL);
  EXPECT_EQ(status->message(), "killed by signal 9 (Killed)");
}

TEST_F(calls_death, of_the_worker_ends_all_calls_in_flight_without_their_deadline) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  std::vector<call_error> ends;
  call_options forever;
  forever.timeout = std::chrono::nanoseconds::max();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(host.call_async(
        hold, no_bytes, [&](call_result&& r) { ends.push_back(r.error()); }, forever));
  }
  EXPECT_EQ(ask(host, "held"), "100");
  EXPECT_EQ(code_of(host.call("die", no_bytes, forever)), errc::unavailable);
  (void)host.run_once();
  ASSERT_EQ(ends.size(), 100u);
  for (const auto& end : ends) {
    EXPECT_EQ(end.code, errc::unavailable);
    EXPECT_TRUE(end.maybe_executed);
  }
  EXPECT_EQ(host.stats().calls_in_flight, 0u);
}

TEST_F(calls_death, of_the_worker_is_noticed_by_a_host_that_waits_for_nothing_in_particular) {
  launched host = start();
  EXPECT_EQ(ask(host, "echo", "x"), "x");
  host.process().kill(SIGKILL);
  const auto outcome = host.run_once(generous);
  EXPECT_EQ(code_of(outcome), errc::unavailable);
}

TEST_F(calls_death, of_the_worker_is_noticed_by_a_host_that_never_blocks) {
  launched host = start();
  EXPECT_EQ(ask(host, "echo", "x"), "x");
  host.process().kill(SIGKILL);
  EXPECT_TRUE(eventually([&] { return !host.run_once(); }));
}

TEST_F(calls_death, of_the_worker_refuses_later_calls_as_not_executed) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  EXPECT_EQ(code_of(host.call("die", no_bytes)), errc::unavailable);
  const auto blocking = host.call(echo, bytes_of("x"));
  EXPECT_EQ(code_of(blocking), errc::unavailable);
  EXPECT_FALSE(blocking.error().maybe_executed);
  const auto async = host.call_async(echo, bytes_of("x"), [](call_result&&) { FAIL(); });
  EXPECT_EQ(code_of(async), errc::unavailable);
  EXPECT_FALSE(async.error().maybe_executed);
  EXPECT_EQ(code_of(host.call(echo, bytes_of(std::string(100'000, 'x')))), errc::unavailable);
  EXPECT_EQ(code_of(host.function("other")), errc::unavailable);
  EXPECT_FALSE(host.loan(100));
  EXPECT_FALSE(host.loan(100'000));
  EXPECT_EQ(code_of(host.run_once()), errc::unavailable);
}

TEST_F(calls_death, of_the_worker_leaves_its_bodies_readable_even_after_the_client) {
  body lent, pooled;
  {
    launched host = start();
    lent = *host.call("pattern", bytes_of("5000000 5000000"));
    pooled = *host.call("pattern", bytes_of("1500 1500"));
    EXPECT_EQ(code_of(host.call("die", no_bytes)), errc::unavailable);
    ASSERT_TRUE(host.process().wait(generous));
    EXPECT_TRUE(is_pattern(lent.bytes()));
  }
  EXPECT_TRUE(lent.size() == 5'000'000 && is_pattern(lent.bytes()));
  EXPECT_TRUE(pooled.size() == 1500 && is_pattern(pooled.bytes()));
}

TEST_F(calls_death, of_the_worker_gives_back_what_it_had_borrowed) {
  const auto before = descriptors_of(::getpid()).size();
  {
    launched host = start();
    const std::string large(100'000, 'k');
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(host.call("keep", bytes_of(large)));
    EXPECT_EQ(host.stats().bodies_lent, 10u);
    EXPECT_EQ(code_of(host.call("die", no_bytes)), errc::unavailable);
  }
  EXPECT_EQ(descriptors_of(::getpid()).size(), before);
}

TEST_F(calls_death, of_the_worker_wakes_every_thread_that_waits_for_an_answer) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  call_options forever;
  forever.timeout = std::chrono::nanoseconds::max();
  std::vector<std::thread> waiting;
  std::atomic<int> ended{0};
  for (int i = 0; i < 6; ++i) {
    waiting.emplace_back([&] {
      const auto outcome = host.call(hold, no_bytes, forever);
      EXPECT_EQ(code_of(outcome), errc::unavailable);
      EXPECT_TRUE(outcome.error().maybe_executed);
      ++ended;
    });
  }
  EXPECT_TRUE(eventually([&] { return host.stats().calls_in_flight == 6; }));
  host.process().kill(SIGKILL);
  for (auto& thread : waiting) thread.join();
  EXPECT_EQ(ended, 6);
}

TEST_F(calls_death, of_the_worker_does_not_lose_what_it_answered_before) {
  launched host = start();
  const auto echo = id_of(host, "echo"), die = id_of(host, "die");
  std::vector<std::string> answers;
  const auto note = [&](call_result&& r) { answers.push_back(text_of(r)); };
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(host.call_async(echo, bytes_of("answered"), note));
  ASSERT_TRUE(host.call_async(die, no_bytes, note));
  ASSERT_TRUE(host.process().wait(generous));
  ASSERT_TRUE(drive(host, [&] { return answers.size() == 21; }));
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(answers[i], "answered");
  EXPECT_NE(answers[20].find("3001"), std::string::npos) << answers[20];
}

TEST_F(calls_death, in_a_callback_of_the_dying_call_a_new_call_is_refused_not_lost) {
  launched host = start();
  std::optional<errc> refused;
  ASSERT_TRUE(host.call_async(id_of(host, "die"), no_bytes, [&](call_result&&) {
    refused = code_of(host.call_async(function_id{0}, no_bytes, [](call_result&&) { FAIL(); }));
  }));
  ASSERT_TRUE(drive(host, [&] { return refused.has_value(); }));
  EXPECT_EQ(*refused, errc::unavailable);
}

// --- the host's ---------------------------------------------------------------------------------

TEST_F(calls_death, of_the_host_ends_an_idle_worker) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  auto process = child::spawn(std::vector<std::string>{neighbour("test-worker")}, ends->second,
                              std::vector<std::string>{"FERRY_SOCKET_FD=3"});
  ASSERT_TRUE(process) << process.error().message();
  ends->second = unique_fd();
  unique_fd cut(::fcntl(ends->first.get(), F_DUPFD_CLOEXEC, 0));
  auto host = client::attach(std::move(ends->first));
  ASSERT_TRUE(host) << host.error().message();
  EXPECT_EQ(text_of(host->call("echo", bytes_of("x"))), "x");
  ::shutdown(cut.get(), SHUT_RDWR);  // what a killed host looks like: no bye
  const auto status = process->wait(generous);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->message(), "exit status 1");
}

TEST_F(calls_death, of_the_host_ends_a_worker_that_waits_for_room_for_its_answers) {
  std::optional<exit_status> status;
  {
    launched host = start(client_options{}, "ring_bytes=4096 inline_limit=512");
    const auto echo = id_of(host, "echo");
    call_options no_waiting;
    no_waiting.wait_for_room = false;
    for (int i = 0; i < 100; ++i) {  // a hundred such answers do not fit into 4 KB
      ASSERT_TRUE(host.call_async(
          echo, bytes_of(std::string(500, 'x')), [](call_result&&) {}, no_waiting));
    }
    host.close();
    status = host.process().wait(10s);
  }
  ASSERT_TRUE(status) << "the worker does not notice";
  EXPECT_EQ(status->signal, 0);
}

}  // namespace
}  // namespace ferry
