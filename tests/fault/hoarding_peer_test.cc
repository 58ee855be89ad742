// A host that gives back none of the bodies it was lent: more than it may hold wait, and nothing
// else does.
#include <ctime>
#include <future>
#include <thread>

#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
constexpr auto at_once = 5s;            // generous: a loaded machine is not a hang
constexpr std::uint64_t may_hold = 14;  // of 16 cells an eighth is spare

std::chrono::nanoseconds cpu_time_of(pthread_t thread) {
  clockid_t its{};
  timespec spent{};
  if (::pthread_getcpuclockid(thread, &its) != 0 || ::clock_gettime(its, &spent) != 0) return 0s;
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

enum : std::uint32_t { makes_a_body, echoes, answers_with_what_is_not_its_own };

// A worker on a thread of its own that has answered with as many bodies as its host may hold, and
// owes as many again.
struct hoarded_worker {
  hoarded_worker() {
    server.raw("make", [](context& call, body) {
      auto made = call.borrow(5'000);
      ASSERT_TRUE(made);
      std::memset(made->data(), 'b', made->size());
      (void)call.reply(std::move(*made));
    });
    server.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
    server.raw("foreign", [this](context& call, body) {
      auto lent = other.loan(5'000);
      ASSERT_TRUE(lent);
      EXPECT_FALSE(call.reply(std::move(*lent)));
    });
    EXPECT_TRUE(peer.send_hello() && server.open(peer.victims_end()) && peer.take_hello());
    serving = std::thread([this] {
      for (;;) {
        if (auto served = server.run_once(10s); !served) return ended.set_value(served.error());
      }
    });
    for (std::uint64_t call = 1; call <= 2 * may_hold; ++call) ask(call, makes_a_body);
    for (std::uint64_t call = 1; call <= may_hold; ++call) {
      const auto answer = take();
      EXPECT_EQ(answer.call, call);
      EXPECT_EQ(answer.body_size, 5'000u);
      held.push_back(answer.body_id);
    }
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(peer.next_record());
  }
  ~hoarded_worker() {
    peer.hang_up();
    serving.join();
    EXPECT_EQ(over.get().code, errc::unavailable);
  }

  void ask(std::uint64_t call, std::uint32_t function, std::string_view text = {}) {
    raw_record record;
    record.kind = a_call;
    record.call = call;
    record.function = function;
    record.inline_size = static_cast<std::uint32_t>(text.size());
    peer.put(record, text);
    wake();
  }
  void wake() { EXPECT_TRUE(peer.send(raw_header{.kind = 4})); }  // whatever it sleeps on
  raw_record take(std::string* text = nullptr) {
    const auto answer = peer.await_record(text);
    EXPECT_TRUE(answer);
    peer.free_what_was_read();
    return answer.value_or(raw_record{});
  }

  hostile_peer others{plays::worker};
  client other = [this] {
    EXPECT_TRUE(others.send_hello());
    return std::move(*client::attach(others.victims_end(), {}));
  }();
  hostile_peer peer{plays::host};
  worker server{small_session()};
  std::thread serving;
  std::promise<call_error> ended;
  std::shared_future<call_error> over = ended.get_future().share();
  std::vector<std::uint32_t> held;
};

using hoarding_peer = fault_test;

TEST_F(hoarding_peer, lets_the_worker_sleep) {
  hoarded_worker full;
  const auto before = cpu_time_of(full.serving.native_handle());
  std::this_thread::sleep_for(400ms);
  EXPECT_LT(cpu_time_of(full.serving.native_handle()) - before, 200ms);
}

TEST_F(hoarding_peer, that_goes_ends_the_worker) {
  hoarded_worker full;
  full.peer.hang_up();
  ASSERT_EQ(full.over.wait_for(at_once), std::future_status::ready) << "the worker goes on";
}

TEST_F(hoarding_peer, gets_answers_without_a_body_meanwhile) {
  hoarded_worker full;
  for (std::uint64_t call = 100; call < 200; ++call) {
    full.ask(call, echoes, "small");
    std::string text;
    ASSERT_EQ(full.take(&text).call, call);
    EXPECT_EQ(text.substr(0, 5), "small");
  }
}

TEST_F(hoarding_peer, is_told_of_an_answer_that_cannot_be) {
  hoarded_worker full;
  full.ask(100, answers_with_what_is_not_its_own);
  const auto answer = full.take();
  EXPECT_EQ(answer.call, 100u);
  EXPECT_EQ(answer.kind, a_failure);
}

TEST_F(hoarding_peer, gets_one_answer_more_for_each_body_it_gives_back) {
  hoarded_worker full;
  for (std::uint64_t call = may_hold + 1; call <= 2 * may_hold; ++call) {
    full.peer.give_back(full.held[call - may_hold - 1]);
    full.wake();
    const auto answer = full.take();
    ASSERT_EQ(answer.call, call);
    EXPECT_EQ(answer.body_size, 5'000u);
    EXPECT_FALSE(full.peer.next_record());
  }
}

}  // namespace
}  // namespace ferry
