// Streams of several hosts of one worker, and streams in a host that polls its descriptor.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <optional>
#include <thread>

#include "shm/socket.h"
#include "tests/e2e/streams.h"
#include "tests/support/attached.h"
#include "worker/worker.h"

namespace ferry {
namespace {

inline const method<streamed<long>(int)> endless{"endless"};
inline const method<streamed<long>(long)> count{"count"};
inline const method<long(long)> listens{"listens"};
inline const method<long(long)> twice{"twice"};

class stream_hosts : public streams_test {
 protected:
  // A host in a process of its own that reads a stream without end. Forked before this process has
  // any thread.
  static pid_t fork_reader(unique_fd socket, const unique_fd& report) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    auto host = client::attach(std::move(socket));
    if (!host) ::_exit(3);
    auto items = host->server_stream(endless, 0);
    for (long i = 0;; ++i) {
      const auto item = items.read();
      if (!item || !*item || **item != i) ::_exit(4);
      if (i == 1000 && ::write(report.get(), "r", 1) != 1) ::_exit(5);
    }
  }
};

TEST_F(stream_hosts,
       one_that_is_killed_while_it_reads_leaves_the_others_and_the_worker_as_they_are) {
  auto theirs = socket_pair();
  ASSERT_TRUE(theirs);
  std::array<int, 2> report{};
  ASSERT_EQ(::pipe2(report.data(), O_CLOEXEC), 0);
  const unique_fd told(report[0]), tells(report[1]);
  const pid_t reader = fork_reader(std::move(theirs->first), tells);
  ASSERT_GT(reader, 0);

  std::atomic<int> streaming{0};
  worker w;
  w.function(endless, [&](int, sink<long>& out) -> task<> {
    struct presence {
      std::atomic<int>& of;
      explicit presence(std::atomic<int>& counter) : of(counter) { ++of; }
      ~presence() { --of; }
    } const here(streaming);
    for (long i = 0; co_await out.send(i); ++i) {
    }
  });
  w.function(count, [](long end, sink<long>& out) -> task<> {
    for (long i = 0; i < end; ++i) {
      if (!co_await out.send(i)) co_return;
    }
  });
  ASSERT_TRUE(w.open(std::move(theirs->second)));
  auto ours = socket_pair();
  ASSERT_TRUE(ours);
  std::thread handshake([&] { EXPECT_TRUE(w.open(std::move(ours->second))); });
  auto host = client::attach(std::move(ours->first));
  handshake.join();
  ASSERT_TRUE(host) << host.error().message();
  std::jthread serving([&](std::stop_token stop) {
    while (!stop.stop_requested()) (void)w.run_once(5ms);
  });

  auto items = host->server_stream(count, 200'000);
  long next = 0;
  const auto read_on = [&](long until) {
    for (; next < until; ++next) {
      const auto item = items.read();
      ASSERT_TRUE(item && *item) << next;
      ASSERT_EQ(**item, next);
    }
  };
  read_on(1000);
  char word = 0;
  ASSERT_EQ(::read(told.get(), &word, 1), 1);  // it reads too
  ASSERT_EQ(::kill(reader, SIGKILL), 0);
  read_on(200'000);
  expect_end(items);
  int status = 0;
  ASSERT_EQ(::waitpid(reader, &status, 0), reader);
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_TRUE(eventually([&] { return streaming == 0; }));
  EXPECT_TRUE(eventually([&] { return w.holdings().size() == 1; }));
  EXPECT_TRUE(w.holdings()[0].calls.empty());
}

// Which of the hosts comes first in the worker's list, and who leaves the list meanwhile, does not
// matter.
TEST_F(stream_hosts, that_call_while_a_function_listens_are_answered_afterwards) {
  for (const bool first_waits : {true, false}) {
    auto shared = loop::create();
    ASSERT_TRUE(shared);
    std::atomic<int> inside{0};
    std::atomic<bool> go_on{false};
    worker_options options;
    options.loop = *shared;
    worker w(options), elsewhere;
    w.function(listens, [&](context& call, long value) {
      ++inside;
      while (!go_on) (void)call.stop_requested();
      return value;
    });
    w.function(twice, [](long value) { return 2 * value; });
    client_options driven;
    driven.loop = *shared;
    std::optional<client> bystander = attach_to(elsewhere, driven);
    client first = attach_to(w), second = attach_to(w);
    client &waits = first_waits ? first : second, &calls = first_waits ? second : first;
    const serving_thread serving(w);

    long listened = 0;
    ASSERT_TRUE(waits.call_async(
        listens, [&](auto&& r) { listened = r.value_or(-1); }, 7));
    ASSERT_TRUE(eventually([&] { return inside == 1; }));
    long answer = 0;
    ASSERT_TRUE(calls.call_async(
        twice, {.timeout = std::chrono::nanoseconds::max()},
        [&](auto&& r) { answer = r.value_or(-1); }, 21));
    std::this_thread::sleep_for(100ms);  // and nothing wakes the session of that host any more
    EXPECT_EQ(answer, 0);
    bystander.reset();
    go_on = true;
    EXPECT_TRUE(drive(waits, [&] { return listened == 7; }));
    const auto limit = steady::now() + 20s;
    while (answer == 0 && steady::now() < limit) ASSERT_TRUE(calls.run_once(100ms));
    EXPECT_EQ(answer, 42) << first_waits;
  }
}

TEST_F(stream_hosts, that_poll_one_descriptor_are_woken_for_items_and_for_their_end) {
  launched host = start_streams();
  const int fd = host.fd();
  (void)host.run_once();
  auto items = host.server_stream(streams::count, 5000);
  int seen = 0;
  bool ended = false;
  const auto deadline = steady::now() + generous;
  while (!ended && steady::now() < deadline) {
    pollfd entry{fd, POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 20'000), 1) << seen;
    ASSERT_TRUE(host.run_once());
    for (auto item = items.try_next(); item; item = items.try_next()) {
      ASSERT_TRUE(*item) << item->error().message();
      ended = !**item;
      if (ended) break;
      ASSERT_EQ(***item, seen++);
    }
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(seen, 5000);
  expect_nothing_left(host);
}

}  // namespace
}  // namespace ferry
