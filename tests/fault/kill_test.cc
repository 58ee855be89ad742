// kill -9 of either side at random moments, a thousand times: the survivor gets an error at once
// and holds nothing back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "ring/record_ring.h"
#include "supervisor/launch.h"
#include "tests/fault/footprint.h"
#include "tests/fault/random_work.h"

extern char** environ;

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FERRY_SLOW_STARTS
#endif
#endif
#ifdef FERRY_SLOW_STARTS
constexpr int rounds =
    60;  // a sanitized start takes ten times as long; the plain build does them all
#else
constexpr int rounds = 500;  // of either side
#endif

// A machine under load may take its time; a hang is still found. The median must be far below.
constexpr auto patience = 10s;
constexpr auto promised = 1s;

unsigned new_seed() {
  const char* wanted = std::getenv("FERRY_TEST_SEED");
  const unsigned seed = wanted != nullptr ? static_cast<unsigned>(std::atoi(wanted))
                                          : static_cast<unsigned>(::getpid());
  std::printf("FERRY_TEST_SEED=%u\n", seed);
  return seed;
}

void expect_prompt(std::vector<clock::duration> took) {
  ASSERT_FALSE(took.empty());
  std::ranges::sort(took);
  const auto ms = [](clock::duration d) {
    return std::chrono::duration<double, std::milli>(d).count();
  };
  std::printf("from the kill to the error: median %.2f ms, max %.2f ms, %zu rounds\n",
              ms(took[took.size() / 2]), ms(took.back()), took.size());
  EXPECT_LT(took[took.size() / 2], promised);
  EXPECT_LT(took.back(), patience);
}

TEST(kill, a_host_outlives_its_workers_and_holds_nothing_back) {
  std::mt19937 random(new_seed());
  const private_folder folder;
  const auto files = files_left();
  const std::string program = beside_me("fault-worker");
  {
    auto first = launch({program});
    ASSERT_TRUE(first) << first.error().message();
  }
  const footprint before = footprint::now();
  [[maybe_unused]] std::size_t resident = 0;
  std::vector<clock::duration> took;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    std::vector<body> held;
    {
      auto host = launch({program});
      ASSERT_TRUE(host) << host.error().message();
      std::atomic<clock::time_point> killed{clock::time_point()};
      std::thread killer([&, delay = std::chrono::microseconds(random() % 3000)] {
        std::this_thread::sleep_for(delay);
        killed = clock::now();
        ::kill(host->pid(), SIGKILL);
      });
      random_work work(*host, static_cast<unsigned>(random()));
      const auto give_up = clock::now() + patience;
      while (work.step() && clock::now() < give_up) {
      }
      took.push_back(clock::now() - killed.load());
      killer.join();
      ASSERT_TRUE(work.failure);
      EXPECT_EQ(work.failure->code, errc::unavailable) << work.failure->message();
      // What was in flight has ended too, each call once.
      (void)host->run_once();
      EXPECT_EQ(work.in_flight, 0);
      EXPECT_FALSE(host->connected());
      EXPECT_FALSE(host->call("echo", std::span<const std::byte>()));
      held = std::move(work.held);
      const auto ended = host->process().wait(patience);
      ASSERT_TRUE(ended);
      EXPECT_EQ(ended->signal, SIGKILL);
    }
    // Answers that we hold stay readable without worker and client.
    for (const body& each : held) {
      if (each.empty()) continue;
      EXPECT_NE(each.bytes().front(), std::byte{0});
    }
    held.clear();
    if (round % 50 == 0) {
      EXPECT_EQ(footprint::now(), before);
    }
    if (round == rounds / 5) resident = resident_bytes();
  }
  EXPECT_EQ(footprint::now(), before);
#ifndef FERRY_SLOW_STARTS  // a sanitizer keeps freed memory back for a while
  EXPECT_LT(resident_bytes(), resident + (16u << 20)) << "memory grows from kill to kill";
#endif
  EXPECT_EQ(files_left_since(files), std::set<std::string>());
  EXPECT_TRUE(folder.contents().empty());
  expect_prompt(std::move(took));
}

struct started_host {
  pid_t host = 0;
  pid_t worker = 0;
};

started_host start_host(unsigned seed) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const std::string program = beside_me("kill-host"), worker = beside_me("fault-worker"),
                    number = std::to_string(seed % 1'000'000);
  const char* arguments[] = {program.c_str(), worker.c_str(), number.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], 1);
  started_host out;
  EXPECT_EQ(::posix_spawn(&out.host, program.c_str(), &actions, nullptr,
                          const_cast<char**>(arguments), environ),
            0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  std::string said;
  for (char c = 0; ::read(pipe_ends[0], &c, 1) == 1 && c != '\n';) said.push_back(c);
  ::close(pipe_ends[0]);
  out.worker = std::atoi(said.c_str());
  return out;
}

TEST(kill, a_worker_outlives_no_host) {
  std::mt19937 random(new_seed());
  const private_folder folder;
  const auto files = files_left();
  // Orphans become our children: none may be left running, none unreaped.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const footprint before = footprint::now();
  std::vector<clock::duration> took;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    const started_host started = start_host(static_cast<unsigned>(random()));
    ASSERT_GT(started.worker, 0);
    const int worker = open_pidfd(started.worker);
    ASSERT_GE(worker, 0);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    const auto killed = clock::now();
    ASSERT_EQ(::kill(started.host, SIGKILL), 0);
    const bool ended =
        ended_within(worker, static_cast<int>(std::chrono::milliseconds(patience).count()));
    took.push_back(clock::now() - killed);
    ::close(worker);
    ASSERT_TRUE(ended) << "the worker " << started.worker << " goes on without its host";
    int status = 0;
    ASSERT_EQ(::waitpid(started.host, &status, 0), started.host);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    ASSERT_EQ(::waitpid(started.worker, &status, 0), started.worker);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  }
  EXPECT_EQ(footprint::now(), before);
  EXPECT_EQ(files_left_since(files), std::set<std::string>());
  EXPECT_TRUE(folder.contents().empty());
  expect_prompt(std::move(took));
}

// --- killed between two lines of the ring -------------------------------------------------------

constexpr std::uint64_t key = 0x5bd1e9955bd1e995;
constexpr std::uint64_t capacity = 4096;

struct shared_ring {
  cursor<std_atomics> read;
  alignas(64) std::byte bytes[capacity];
};

// Dies where it would copy a body: after the claim, before the ready word.
struct dying_atomics : std_atomics {
  static void write(void*, const void*, std::size_t) noexcept { ::kill(::getpid(), SIGKILL); }
};

class ring_kill : public ::testing::Test {
 protected:
  ring_kill() {
    void* at = ::mmap(nullptr, sizeof(shared_ring), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(at, MAP_FAILED);
    ring = new (at) shared_ring{};
  }
  ~ring_kill() override { ::munmap(ring, sizeof(shared_ring)); }

  template <class InChild>
  void killed_child(InChild&& in_child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      in_child();
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }

  shared_ring* ring = nullptr;
};

TEST_F(ring_kill, a_producer_killed_before_the_ready_word_leaves_nothing_to_see) {
  record_fields fields;
  fields.kind = record_kind::call;
  killed_child([&] {
    record_producer<> whole(ring->bytes, ring->read, key);
    if (!whole.try_push(fields)) ::_exit(2);
    record_producer<dying_atomics> broken(
        ring->bytes, reinterpret_cast<const cursor<dying_atomics>&>(ring->read), key,
        record_bytes(0));
    (void)broken.try_push(fields);
  });
  record_consumer<> consumer(ring->bytes, ring->read, key);
  EXPECT_TRUE(consumer.try_pop([](const record_fields&, std::span<const std::byte>) {}));
  EXPECT_FALSE(consumer.ready());
  EXPECT_EQ(consumer.try_pop([](const record_fields&, std::span<const std::byte>) {}).error().code,
            errc::empty);
}

TEST_F(ring_kill, a_consumer_killed_before_it_gives_back_leaves_a_ring_that_is_full) {
  record_producer<> producer(ring->bytes, ring->read, key);
  record_fields fields;
  fields.kind = record_kind::call;
  while (producer.try_push(fields)) {
  }
  killed_child([&] {
    record_consumer<> consumer(ring->bytes, ring->read, key);
    for (int i = 0; i < 8; ++i) {
      if (!consumer.try_pop([](const record_fields&, std::span<const std::byte>) {})) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  });
  EXPECT_EQ(producer.try_push(fields).error().code, errc::full);
}

}  // namespace
}  // namespace ferry
