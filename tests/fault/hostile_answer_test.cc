// Answers that nobody asked for, that come too late, twice or without end; texts and names of a
// size that nobody wants to copy.
#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

class hostile_answer : public fault_test {
 protected:
  hostile_answer() {
    client_options options;
    options.session = small_session();
    EXPECT_TRUE(peer.send_hello());
    auto met = client::attach(peer.victims_end(), options);
    EXPECT_TRUE(met);
    host.emplace(std::move(*met));
    EXPECT_TRUE(peer.take_hello());
  }
  void TearDown() override {
    host.reset();
    made_.reset();
    fault_test::TearDown();
  }

  std::uint64_t begin() {
    const auto began = host->call_async(function_id{0}, no_bytes, [this](call_result&& outcome) {
      outcomes.push_back(std::move(outcome));
    });
    EXPECT_TRUE(began);
    const auto asked = peer.await_record();
    peer.free_what_was_read();
    return asked ? asked->call : 0;
  }
  void answer(std::uint64_t call) {
    raw_record record;
    record.kind = a_reply;
    record.call = call;
    peer.put(record);
  }

  std::optional<client> host;
  std::vector<call_result> outcomes;

 private:
  std::optional<hostile_peer> made_{std::in_place, plays::worker};

 protected:
  hostile_peer& peer = *made_;
};

TEST_F(hostile_answer, to_a_call_that_was_never_made_is_counted_and_dropped) {
  for (const std::uint64_t call : {0ull, 1ull, 65535ull, 65536ull, 65537ull, 1ull << 63, ~0ull}) {
    answer(call);
  }
  EXPECT_EQ(*host->run_once(), 0u);
  EXPECT_EQ(host->stats().stale_answers, 7u);
  EXPECT_TRUE(host->connected());
}

TEST_F(hostile_answer, counts_once_however_often_it_comes) {
  const std::uint64_t call = begin();
  for (int times = 0; times < 3; ++times) answer(call);
  EXPECT_EQ(*host->run_once(), 1u);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_TRUE(outcomes[0]);
  EXPECT_EQ(host->stats().stale_answers, 2u);
  // The slot is used again; the old id does not answer the new call.
  const std::uint64_t next = begin();
  EXPECT_NE(next, call);
  answer(call);
  EXPECT_EQ(*host->run_once(), 0u);
  EXPECT_EQ(host->stats().calls_in_flight, 1u);
  answer(next);
  EXPECT_EQ(*host->run_once(), 1u);
}

TEST_F(hostile_answer, after_the_deadline_is_dropped) {
  std::uint64_t call = 0;
  const auto began = host->call(function_id{0}, no_bytes, {.timeout = 10ms});
  ASSERT_FALSE(began);
  EXPECT_EQ(began.error().code, errc::timeout);
  call = peer.await_record()->call;
  answer(call);
  EXPECT_EQ(*host->run_once(), 0u);
  EXPECT_EQ(host->stats().stale_answers, 1u);
}

TEST_F(hostile_answer, of_any_code_is_passed_on) {
  for (const int code : {0, 1, 4, 2042, 3001, 65535}) {
    raw_record record;
    record.kind = a_failure;
    record.call = begin();
    record.code = static_cast<std::uint16_t>(code);
    record.inline_size = 3;
    peer.put(record, "why");
    ASSERT_EQ(*host->run_once(), 1u);
    ASSERT_FALSE(outcomes.back());
    EXPECT_EQ(static_cast<int>(outcomes.back().error().code), code == 0 ? 3000 : code);
    EXPECT_EQ(outcomes.back().error().text, "why");
  }
  EXPECT_TRUE(host->connected());
}

TEST_F(hostile_answer, with_an_endless_text_is_cut) {
  const raw_memory memory(8 << 20);
  ASSERT_TRUE(peer.send_segment(1, memory));
  raw_record record;
  record.kind = a_failure;
  record.call = begin();
  record.code = 2000;
  record.body_segment = record.body_id = 1;
  record.body_size = 8 << 20;
  peer.put(record);
  ASSERT_EQ(*host->run_once(), 1u);
  EXPECT_LE(outcomes.back().error().text.size(), 4096u);
}

// --- floods
// ---------------------------------------------------------------------------------------

// Answers to nobody, as fast as the client reads them.
class answer_flood {
 public:
  explicit answer_flood(hostile_peer& peer)
      : thread_([this, &peer] {
          while (!stop_.load(std::memory_order_relaxed)) {
            const std::uint64_t read = peer.victims_word(records_read_at);
            if (peer.next_position() - read > 4096 - 64) continue;
            raw_record record;
            record.kind = a_reply;
            record.call = 99 << 16;
            peer.put(record);
          }
        }) {}
  ~answer_flood() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(hostile_answer, without_end_does_not_outrun_a_deadline) {
  const answer_flood flood(peer);
  auto began = clock::now();
  const auto outcome = host->call(function_id{0}, no_bytes, {.timeout = 100ms});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, errc::timeout);
  EXPECT_LT(clock::now() - began, 5s);
}

TEST_F(hostile_answer, without_end_does_not_hold_run_once) {
  const answer_flood flood(peer);
  const auto began = clock::now();
  for (int times = 0; times < 100; ++times) EXPECT_EQ(*host->run_once(0ns), 0u);
  EXPECT_EQ(*host->run_once(100ms), 0u);
  EXPECT_LT(clock::now() - began, 5s);
  EXPECT_GT(host->stats().stale_answers, 0u);
}

// Each answer is there before the one before it has been looked at to the end.
TEST_F(hostile_answer, without_end_does_not_keep_waiting_what_was_posted_meanwhile) {
  constexpr int most = 100'000;
  constexpr function_id chain{0}, last{1};
  int answered = 0, ran_after = -1;
  std::uint64_t blocking = 0;
  std::function<void()> next;
  const auto landed = [&](call_result&&) {
    if (++answered == 100) {
      std::jthread([&] { host->loop().post([&] { ran_after = answered; }); }).join();
    }
    answered == most || ran_after >= 0 ? answer(blocking) : next();
  };
  next = [&] {
    ASSERT_TRUE(host->call_async(chain, no_bytes, landed));
    for (auto asked = peer.next_record(); asked; asked = peer.next_record()) {
      if (asked->function == last.value) {
        blocking = asked->call;
      } else {
        answer(asked->call);
      }
    }
    peer.free_what_was_read();
  };
  next();
  EXPECT_TRUE(host->call(last, no_bytes));
  EXPECT_GE(ran_after, 100);
  EXPECT_LT(ran_after, most);
}

TEST_F(hostile_answer, without_end_from_behind_a_closed_socket_ends_the_session) {
  (void)begin();
  const answer_flood flood(peer);
  peer.hang_up();
  const auto deadline = clock::now() + 5s;
  while (host->connected() && clock::now() < deadline) (void)host->run_once(10ms);
  EXPECT_FALSE(host->connected());
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].error().code, errc::unavailable);
}

// --- names
// ----------------------------------------------------------------------------------------

TEST_F(fault_test, a_worker_does_not_copy_a_name_without_end) {
  open_session open(side::worker);
  const raw_memory memory(8 << 20);
  std::memset(memory.bytes().data(), 'n', memory.bytes().size());
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  raw_record record;
  record.kind = a_resolve;
  record.call = 5;
  record.body_segment = record.body_id = 1;
  record.body_size = 8 << 20;
  open.peer.put(record);
  ASSERT_FALSE(open.target->turn(1s));
  std::string text;
  const auto answer = open.peer.await_record(&text);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->kind, a_failure);
  EXPECT_EQ(answer->code, 1002);
  EXPECT_LT(text.size(), 1025u);
}

TEST_F(fault_test, a_worker_answers_for_functions_that_it_has_not) {
  open_session open(side::worker);
  for (const std::uint32_t function : {2u, 1u << 31, ~0u}) {
    raw_record record;
    record.kind = a_call;
    record.call = function;
    record.function = function;
    open.peer.put(record);
    ASSERT_FALSE(open.target->turn(1s));
    const auto answer = open.peer.await_record();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->kind, a_failure);
    EXPECT_EQ(answer->code, 1002);
    EXPECT_EQ(answer->call, function);
  }
}

}  // namespace
}  // namespace ferry
