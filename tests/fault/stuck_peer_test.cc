// A peer that does not move: it never reads, it is stopped, or it dies with a thousand calls open.
// What waits for it ends in time, and what it held comes back.
#include <fmt/format.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <future>
#include <thread>

#include "supervisor/launch.h"
#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr auto at_once = 5s;  // generous: a loaded machine is not a hang

class stuck_peer : public fault_test {
 protected:
  static launched start() {
    auto started = launch({beside_me("fault-worker")});
    EXPECT_TRUE(started) << started.error().message();
    return std::move(*started);
  }
  static void stop(const launched& worker) {
    ASSERT_EQ(::kill(worker.pid(), SIGSTOP), 0);
    siginfo_t info{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(worker.pid()), &info, WSTOPPED | WNOWAIT), 0);
  }
  template <class Ready>
  static bool soon(client& host, Ready&& ready) {
    const auto deadline = clock::now() + at_once;
    while (!ready() && clock::now() < deadline) (void)host.run_once(1ms);
    return ready();
  }
};

// --- rings that fill
// ------------------------------------------------------------------------------

TEST_F(stuck_peer, a_worker_that_never_reads_makes_a_client_overloaded_or_late_by_choice) {
  hostile_peer peer(plays::worker);
  client_options options;
  options.session = small_session();
  ASSERT_TRUE(peer.send_hello());
  auto host = client::attach(peer.victims_end(), options);
  ASSERT_TRUE(host && peer.take_hello());
  int begun = 0;
  std::atomic<int> ended = 0;
  for (;; ++begun) {
    const auto began = host->call_async(function_id{0}, no_bytes, [&](call_result&&) { ++ended; },
                                        {.timeout = {}, .wait_for_room = false});
    if (began) continue;
    EXPECT_EQ(began.error().code, errc::overloaded) << began.error().message();
    break;
  }
  EXPECT_EQ(begun, 64);
  // A loan that finds no room was never the peer's: it cannot even guess an id and return it.
  auto argument = host->loan(10'000);
  ASSERT_TRUE(argument);
  EXPECT_FALSE(host->call_async(function_id{0}, std::move(*argument), [](call_result&&) {},
                                {.timeout = {}, .wait_for_room = false}));
  EXPECT_EQ(host->stats().bodies_lent, 0u);
  const auto began = clock::now();
  const auto late = host->call(function_id{0}, no_bytes, {.timeout = 50ms});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::timeout) << late.error().message();
  EXPECT_FALSE(late.error().maybe_executed);
  EXPECT_GE(clock::now() - began, 50ms);
  EXPECT_TRUE(host->connected());
  EXPECT_EQ(host->stats().calls_in_flight, 64u);
  // It was only slow: as soon as it reads, calls go out again.
  while (peer.next_record()) {
  }
  peer.free_what_was_read();
  EXPECT_TRUE(host->call_async(function_id{0}, no_bytes, [&](call_result&&) { ++ended; },
                               {.timeout = {}, .wait_for_room = false}));
  host->close();
  EXPECT_TRUE(host->run_once());
  EXPECT_EQ(ended, 65);
}

// A worker with more answers than its ring takes, on a thread of its own.
struct filled_worker {
  filled_worker() {
    EXPECT_TRUE(peer.send_hello());
    server.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
    EXPECT_TRUE(server.open(peer.victims_end()));
    EXPECT_TRUE(peer.take_hello());
    serving = std::async(std::launch::async, [this]() -> std::optional<call_error> {
      for (;;) {
        if (auto served = server.run_once(1s); !served) return served.error();
      }
    });
    for (int calls = 0; calls < 64 + 32; ++calls) {
      while (peer.next_position() - peer.victims_word(records_read_at) > 4096 - 64) {
        std::this_thread::yield();
      }
      raw_record record;
      record.kind = a_call;
      record.call = static_cast<std::uint64_t>(calls) + 1;
      peer.put(record);
      // Wakes it whatever it sleeps on.
      EXPECT_TRUE(peer.send(raw_header{.kind = 4}));
    }
  }
  hostile_peer peer{plays::host};
  worker server{small_session()};
  std::future<std::optional<call_error>> serving;
};

TEST_F(stuck_peer, a_host_that_never_reads_stops_only_its_worker_and_its_end_frees_it) {
  filled_worker full;
  EXPECT_EQ(full.serving.wait_for(100ms), std::future_status::timeout);
  const auto died = clock::now();
  full.peer.hang_up();
  ASSERT_EQ(full.serving.wait_for(at_once), std::future_status::ready) << "the worker hangs";
  EXPECT_EQ(full.serving.get()->code, errc::unavailable);
  EXPECT_LT(clock::now() - died, 1s);
}

TEST_F(stuck_peer, a_host_that_reads_late_gets_every_answer) {
  filled_worker full;
  EXPECT_EQ(full.serving.wait_for(50ms), std::future_status::timeout);
  for (std::uint64_t call = 1; call <= 64 + 32; ++call) {
    const auto answer = full.peer.await_record();
    full.peer.free_what_was_read();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->call, call);
  }
  full.peer.hang_up();
  EXPECT_EQ(full.serving.get()->code, errc::unavailable);
}

TEST_F(stuck_peer, a_host_that_never_reads_is_owed_one_progress_mark_however_many_were_told) {
  constexpr std::uint8_t progress = 12;
  int ran = 0;
  worker server(small_session());
  server.raw("work", [](context& call, body) {
    for (int marks = 0; marks < 100'000; ++marks) call.progress();
    (void)call.reply(no_bytes);
  });
  server.raw("count", [&](context& call, body) {
    ++ran;
    (void)call.reply(no_bytes);
  });
  hostile_peer peer(plays::host);
  ASSERT_TRUE(peer.send_hello() && server.open(peer.victims_end()) && peer.take_hello());
  raw_record record;
  record.kind = a_call;
  for (record.call = 1; record.call <= 2; ++record.call, ++record.function) {
    peer.put(record);
    ASSERT_TRUE(peer.send(raw_header{.kind = 4}));  // wakes it
    ASSERT_TRUE(server.run_once(1s));
  }
  EXPECT_EQ(ran, 1);  // what is owed is not so much that calls have to wait
  std::size_t marks = 0;
  std::vector<std::uint64_t> answers;
  for (const auto deadline = clock::now() + at_once;
       clock::now() < deadline && answers.size() < 2;) {
    while (const auto came = peer.next_record()) {
      came->kind == progress ? void(++marks) : answers.push_back(came->call);
    }
    peer.free_what_was_read();
    ASSERT_TRUE(server.run_once(1ms));
  }
  EXPECT_EQ(answers, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_LE(marks, 64u + 1);  // a ring full, and one
}

// Held answers that go when nobody serves any more: on another thread, or after the loop.
TEST_F(stuck_peer, an_answer_held_back_does_not_wait_for_a_host_that_is_gone) {
  std::vector<responder> held;
  hostile_peer peer(plays::host);
  worker server(small_session());
  server.raw("hold", [&](context& call, body) { held.push_back(call.defer()); });
  ASSERT_TRUE(peer.send_hello() && server.open(peer.victims_end()) && peer.take_hello());
  for (std::uint64_t call = 1; call <= 100; ++call) {
    raw_record record;
    record.kind = a_call;
    record.call = call;
    peer.put(record);
    ASSERT_TRUE(server.run_once(1s));
  }
  for (int answers = 0; answers < 64; ++answers) {
    EXPECT_TRUE(held.back().reply(no_bytes));
    held.pop_back();
  }
  // The ring is full: the answer is kept for when the host reads.
  auto late = std::async(std::launch::async, [&] { return held.back().reply(no_bytes); });
  ASSERT_EQ(late.wait_for(at_once), std::future_status::ready) << "the answer hangs";
  EXPECT_TRUE(late.get());
  held.pop_back();
  peer.hang_up();
  EXPECT_EQ(held.back().reply(no_bytes).error().code, errc::closed);
  held.pop_back();
  held.clear();  // and so do the answers that are given for what was not answered
}

// --- a stopped process
// ----------------------------------------------------------------------------

TEST_F(stuck_peer, a_call_to_a_stopped_worker_ends_by_its_deadline_and_its_memory_comes_back) {
  most_at_once_ = 4 << 20;
  launched worker = start();
  const std::string large(1 << 20, 'x');
  ASSERT_TRUE(worker.call("size", bytes_of(large)));
  stop(worker);
  for (int times = 0; times < 3; ++times) {
    const auto began = clock::now();
    const auto outcome = worker.call("size", bytes_of(large), {.timeout = 50ms});
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, errc::timeout);
    EXPECT_TRUE(outcome.error().maybe_executed);
    EXPECT_GE(clock::now() - began, 50ms);
    EXPECT_LT(clock::now() - began, at_once);
  }
  EXPECT_GE(worker.stats().bodies_lent, 3u);
  ::kill(worker.pid(), SIGCONT);
  EXPECT_TRUE(soon(worker, [&] { return worker.stats().bodies_lent == 0; }));
  EXPECT_EQ(worker.call("size", bytes_of(large))->text(), "1048576");
  EXPECT_EQ(worker.stats().stale_answers, 3u);
}

TEST_F(stuck_peer, a_stopped_worker_that_is_killed_is_unavailable) {
  launched worker = start();
  ASSERT_TRUE(worker.call("echo", no_bytes));
  stop(worker);
  std::thread killing([&] {
    std::this_thread::sleep_for(30ms);
    ::kill(worker.pid(), SIGKILL);
  });
  const auto outcome = worker.call("echo", no_bytes);
  killing.join();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, errc::unavailable);
}

// --- many calls at its death
// ----------------------------------------------------------------------

TEST_F(stuck_peer, a_thousand_calls_in_flight_at_its_death_end_once_each) {
  launched worker = start();
  const auto hold = worker.function("hold");
  ASSERT_TRUE(hold);
  constexpr std::size_t calls = 1024;
  std::vector<int> times(calls, 0);
  const std::string large(4096, 'x');
  for (std::size_t call = 0; call < calls; ++call) {
    const auto began =
        worker.call_async(*hold, bytes_of(large), [&times, call](call_result&& outcome) {
          ++times[call];
          ASSERT_FALSE(outcome);
          EXPECT_EQ(outcome.error().code, errc::unavailable);
          EXPECT_TRUE(outcome.error().maybe_executed);
        });
    ASSERT_TRUE(began) << began.error().message();
  }
  const auto died = clock::now();
  ::kill(worker.pid(), SIGKILL);
  std::size_t ended = 0;
  while (const auto done = worker.run_once(1s)) ended += *done;
  EXPECT_LT(clock::now() - died, at_once);
  EXPECT_EQ(ended, calls);
  EXPECT_EQ(times, std::vector<int>(calls, 1));
  EXPECT_EQ(worker.stats().calls_in_flight, 0u);
  EXPECT_FALSE(worker.run_once());
  EXPECT_EQ(times, std::vector<int>(calls, 1));
}

TEST_F(stuck_peer, every_thread_that_waits_for_it_learns_of_its_death) {
  launched worker = start();
  ASSERT_TRUE(worker.call("echo", no_bytes));
  stop(worker);
  std::vector<std::future<errc>> waiting;
  for (int threads = 0; threads < 8; ++threads) {
    waiting.push_back(std::async(std::launch::async, [&] {
      const auto outcome = worker.call("hold", no_bytes);
      return outcome ? errc{} : outcome.error().code;
    }));
  }
  std::this_thread::sleep_for(20ms);
  ::kill(worker.pid(), SIGKILL);
  for (auto& one : waiting) {
    ASSERT_EQ(one.wait_for(at_once), std::future_status::ready) << "a thread hangs";
    EXPECT_EQ(one.get(), errc::unavailable);
  }
}

// --- what a dead peer held
// ------------------------------------------------------------------------

TEST_F(stuck_peer, what_a_dead_worker_held_is_taken_back_while_its_client_lives_on) {
  launched worker = start();
  const std::size_t before = footprint::now().memfd_mappings;
  auto held = worker.call("make", bytes_of("100000 x"));
  ASSERT_TRUE(held);
  const auto hold = worker.function("hold");
  for (int calls = 0; calls < 8; ++calls) {
    auto argument = worker.loan(1 << 20);
    ASSERT_TRUE(argument && worker.call_async(*hold, std::move(*argument), [](call_result&&) {}));
  }
  loan unsent = *worker.loan(100'000);
  EXPECT_EQ(worker.stats().bodies_lent, 8u);
  ::kill(worker.pid(), SIGKILL);
  while (worker.run_once(1s)) {
  }
  EXPECT_EQ(worker.stats().bodies_lent, 0u);
  EXPECT_EQ(worker.stats().bytes_lent, 0u);
  // Our own unsent loan and the worker's last answer stay ours to use.
  std::memset(unsent.data(), 'u', unsent.size());
  EXPECT_EQ(held->text(), std::string(100'000, 'x'));
  unsent = {};
  held = call_error{};
  worker.trim();
  EXPECT_EQ(worker.stats().arena_bytes, 0u);
  EXPECT_LE(footprint::now().memfd_mappings, before + 1);  // the dead worker's segment at most
}

}  // namespace
}  // namespace ferry
