// Ferry inside somebody else's loop: one descriptor in a poll(), run_once(0) when it is ready.
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <thread>

#include "shm/socket.h"
#include "tests/e2e/e2e.h"
#include "worker/worker.h"

namespace ferry {
namespace {

using embedding = e2e;

// True if the descriptor became readable within `limit`.
bool readable(int fd, std::chrono::milliseconds limit) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) == 1;
}

// A loop as a program would have it. Counts how often it was woken.
struct poll_loop {
  client& host;
  int fd = host.fd();
  int wakeups = 0;

  explicit poll_loop(client& with) : host(with) { (void)host.run_once(); }
  template <class Done>
  bool run_until(Done done) {
    const auto deadline = steady::now() + generous;
    while (!done()) {
      if (steady::now() > deadline || !readable(fd, 20'000ms)) return false;
      ++wakeups;
      if (!host.run_once()) return done();
    }
    return true;
  }
  // Until nothing is left to do. False: it never is, the loop is busy with nothing.
  bool settle() {
    for (int i = 0; i < 20; ++i) {
      if (!readable(fd, 100ms)) return true;
      if (!host.run_once()) return false;
    }
    return false;
  }
};

call_options within(std::chrono::nanoseconds timeout) {
  call_options options;
  options.timeout = timeout;
  return options;
}

TEST_F(embedding, completes_calls_in_a_loop_of_poll_and_run_once) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  poll_loop loop(host);
  for (const std::size_t size : {1ul, 1'000ul, 100'000ul}) {
    for (int i = 0; i < 200; ++i) {
      std::optional<bool> right;
      std::vector<std::byte> sent(size);
      write_pattern(sent);
      ASSERT_TRUE(host.call_async(echo, sent, [&](call_result&& r) {
        right = r && r->size() == size && is_pattern(r->bytes());
      }));
      ASSERT_TRUE(loop.run_until([&] { return right.has_value(); })) << i;
      EXPECT_TRUE(*right);
    }
  }
  EXPECT_TRUE(loop.settle());
}

TEST_F(embedding, completes_many_calls_that_were_started_at_once) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  poll_loop loop(host);
  std::size_t ended = 0;
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(host.call_async(echo, bytes_of("x"), [&](call_result&&) { ++ended; }));
  }
  EXPECT_TRUE(loop.run_until([&] { return ended == 1'000; })) << ended;
  EXPECT_TRUE(loop.settle());
}

TEST_F(embedding, fires_deadlines_of_calls_that_were_started_before_the_poll) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  poll_loop loop(host);
  std::vector<int> order;
  for (const int ms : {60, 20, 40}) {
    ASSERT_TRUE(host.call_async(
        hold, no_bytes,
        [&, ms](call_result&& r) {
          EXPECT_EQ(code_of(r), errc::timeout);
          order.push_back(ms);
        },
        within(std::chrono::milliseconds(ms))));
  }
  EXPECT_TRUE(loop.run_until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector<int>{20, 40, 60}));
  EXPECT_TRUE(loop.settle());
}

TEST_F(embedding, fires_deadlines_of_calls_that_were_started_in_callbacks) {
  launched host = start();
  const auto hold = id_of(host, "hold"), echo = id_of(host, "echo");
  poll_loop loop(host);
  bool ended = false;
  ASSERT_TRUE(host.call_async(echo, no_bytes, [&](call_result&&) {
    EXPECT_TRUE(host.call_async(
        hold, no_bytes,
        [&](call_result&& r) {
          EXPECT_EQ(code_of(r), errc::timeout);
          ended = true;
        },
        within(20ms)));
  }));
  EXPECT_TRUE(loop.run_until([&] { return ended; }));
}

TEST_F(embedding, is_woken_by_the_death_of_the_worker) {
  launched host = start();
  const auto hold = id_of(host, "hold");
  poll_loop loop(host);
  ASSERT_TRUE(loop.settle());
  std::optional<errc> ended;
  ASSERT_TRUE(host.call_async(
      hold, no_bytes, [&](call_result&& r) { ended = code_of(r); },
      within(std::chrono::nanoseconds::max())));
  host.process().kill(SIGKILL);
  EXPECT_TRUE(loop.run_until([&] { return ended.has_value(); }));
  EXPECT_EQ(*ended, errc::unavailable);
  EXPECT_EQ(code_of(host.run_once()), errc::unavailable);
}

TEST_F(embedding, is_not_woken_while_nothing_happens) {
  launched host = start();
  const auto echo = id_of(host, "echo"), hold = id_of(host, "hold");
  poll_loop loop(host);
  std::size_t ended = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(host.call_async(echo, bytes_of("x"), [&](call_result&&) { ++ended; }));
    ASSERT_TRUE(host.call_async(hold, bytes_of("x"), [](call_result&&) {}));
  }
  EXPECT_TRUE(loop.run_until([&] { return ended == 10; }));
  EXPECT_LE(loop.wakeups, 40);  // a few for ten calls, not as many as fit into the time
  ASSERT_TRUE(loop.settle());
  EXPECT_FALSE(readable(loop.fd, 500ms));
  EXPECT_EQ(ask(host, "release"), "released");
}

TEST_F(embedding, goes_along_with_blocking_calls) {
  launched host = start();
  const auto echo = id_of(host, "echo");
  poll_loop loop(host);
  for (int i = 0; i < 50; ++i) {
    bool ended = false;
    ASSERT_TRUE(host.call_async(echo, bytes_of("x"), [&](call_result&&) { ended = true; }));
    EXPECT_EQ(ask(host, "echo", "y"), "y");
    EXPECT_TRUE(loop.run_until([&] { return ended; }));
  }
  EXPECT_TRUE(loop.settle());
}

TEST_F(embedding, lets_idle_memory_go) {
  launched host = start();
  const auto size = id_of(host, "size");
  poll_loop loop(host);
  bool ended = false;
  ASSERT_TRUE(host.call_async(size, bytes_of(std::string(16 << 20, 'x')),
                              [&](call_result&&) { ended = true; }));
  ASSERT_TRUE(loop.run_until([&] { return ended; }));
  EXPECT_TRUE(loop.run_until([&] { return host.stats().arena_bytes == 0; }));
}

// --- the worker's side --------------------------------------------------------------------------

// A worker in a thread of this process, in a loop of poll and run_once.
class embedded_worker {
 public:
  explicit embedded_worker(unique_fd socket)
      : thread_([this, moved = std::move(socket)]() mutable { serve(std::move(moved)); }) {}
  ~embedded_worker() { thread_.join(); }

  std::atomic<int> wakeups{0};
  std::atomic<int> ended_with{-1};

 private:
  void serve(unique_fd socket) {
    worker w;
    w.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
    w.function("add", [](int a, int b) { return a + b; });
    if (auto opened = w.open(std::move(socket)); !opened) {
      ended_with = static_cast<int>(opened.error().code);
      return;
    }
    const int fd = w.fd();
    for (;;) {
      const auto served = w.run_once();
      if (!served) {
        ended_with = static_cast<int>(served.error().code);
        return;
      }
      if (!readable(fd, 20'000ms)) return;
      ++wakeups;
    }
  }
  std::thread thread_;
};

TEST_F(embedding, of_a_worker_serves_calls_and_ends_with_its_host) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  embedded_worker served(std::move(ends->second));
  {
    auto host = client::attach(std::move(ends->first));
    ASSERT_TRUE(host) << host.error().message();
    EXPECT_EQ(*host->invoke<int>("add", 1, 2), 3);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(ask(*host, "echo", "inside"), "inside");
    for (int i = 0; i < 20; ++i) {
      const auto answer = host->call("echo", bytes_of(std::string(50'000, 'x')));
      EXPECT_TRUE(answer && answer->size() == 50'000);
    }
    std::size_t ended = 0;
    const auto echo = id_of(*host, "echo");
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(host->call_async(echo, bytes_of("x"), [&](call_result&&) { ++ended; }));
    }
    EXPECT_TRUE(drive(*host, [&] { return ended == 500; }));
  }
  EXPECT_TRUE(eventually([&] { return served.ended_with != -1; }));
  EXPECT_EQ(served.ended_with, static_cast<int>(errc::closed));
}

TEST_F(embedding, of_a_worker_is_not_woken_while_nothing_happens) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  embedded_worker served(std::move(ends->second));
  auto host = client::attach(std::move(ends->first));
  ASSERT_TRUE(host) << host.error().message();
  const auto echo = id_of(*host, "echo");
  for (int round = 0; round < 3; ++round) {
    std::size_t ended = 0;
    for (int i = 0; i < 200; ++i) {  // more than it serves in one go
      ASSERT_TRUE(host->call_async(echo, bytes_of("x"), [&](call_result&&) { ++ended; }));
    }
    EXPECT_TRUE(drive(*host, [&] { return ended == 200; }));
  }
  // The number stands still: two looks a good while apart.
  EXPECT_TRUE(eventually(
      [&] {
        const int before = served.wakeups;
        std::this_thread::sleep_for(200ms);
        return served.wakeups == before;
      },
      5s))
      << "busy with nothing";
  EXPECT_EQ(ask(*host, "echo", "awake"), "awake");
}

TEST_F(embedding, of_a_worker_that_nobody_greets_ends_with_a_time_out) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  session_options options;
  options.hello_timeout = 50ms;
  worker w(options);
  const auto opened = w.open(std::move(ends->second));
  EXPECT_EQ(code_of(opened), errc::timeout);
  EXPECT_EQ(code_of(w.run_once()), errc::invalid_request);
}

}  // namespace
}  // namespace ferry
