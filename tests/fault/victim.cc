#include "tests/fault/victim.h"

#include <atomic>
#include <thread>

#include "perf/heap_count.h"
#include "shm/socket.h"

namespace ferry {

using namespace std::chrono_literals;

namespace {

class client_victim final : public victim {
 public:
  explicit client_victim(session_options options) { options_.session = options; }
  ~client_victim() override {
    host_.reset();
    EXPECT_EQ(ended, begun) << "a call has not ended exactly once";
    kept.clear();
  }

  std::optional<call_error> meet(unique_fd socket) override {
    auto met = client::attach(std::move(socket), options_);
    if (!met) return met.error();
    host_.emplace(std::move(*met));
    return std::nullopt;
  }

  std::optional<call_error> turn(std::chrono::nanoseconds timeout) override {
    auto done = host_->run_once(timeout);
    if (!done) return done.error();
    return std::nullopt;
  }

  raw_record expected(hostile_peer& peer) override {
    raw_record answer;
    if (begin(std::span<const std::byte>(), {}) != errc{}) return answer;
    const auto asked = peer.await_record();
    if (!asked) return answer;
    answer.kind = a_reply;
    answer.call = asked->call;
    return answer;
  }

  std::optional<raw_record> lend(hostile_peer& peer, std::uint64_t size_bytes) override {
    auto argument = host_->loan(size_bytes);
    call_options at_once;
    at_once.wait_for_room = false;
    if (!argument || begin(std::move(*argument), at_once) != errc{}) return std::nullopt;
    return peer.await_record();
  }

  errc send_one() override {
    call_options at_once;
    at_once.wait_for_room = false;
    return begin(std::span<const std::byte>(), at_once);
  }

  std::uint64_t bodies_lent() const override { return host_->stats().bodies_lent; }

 private:
  template <class Argument>
  errc begin(Argument&& argument, call_options options) {
    const auto done = [this, times = 0](call_result&& outcome) mutable {
      EXPECT_EQ(++times, 1);
      ++ended;
      if (outcome) {
        kept.push_back(std::move(*outcome));
      } else {
        failures.push_back(outcome.error());
      }
    };
    const auto started =
        host_->call_async(function_id{0}, std::forward<Argument>(argument), done, options);
    if (!started) return started.error().code;
    ++begun;
    return {};
  }

  client_options options_;
  std::optional<client> host_;
};

class worker_victim final : public victim {
 public:
  explicit worker_victim(session_options options) : worker_(options) {
    worker_.raw("keep", [this](context& call, body argument) {
      kept.push_back(std::move(argument));
      deferred_.push_back(call.defer());  // an answer would fill the ring
    });
    worker_.raw("lend", [](context& call, body argument) {
      auto answer = call.borrow(std::stoull(std::string(argument.text())));
      if (!answer) return (void)call.fail(answer.error().code, answer.error().message());
      (void)call.reply(std::move(*answer));
    });
  }
  ~worker_victim() override {
    kept.clear();
    peer_ = nullptr;
  }

  std::optional<call_error> meet(unique_fd socket) override {
    const auto met = worker_.open(std::move(socket));
    if (!met) return met.error();
    return std::nullopt;
  }

  std::optional<call_error> turn(std::chrono::nanoseconds timeout) override {
    const auto served = worker_.run_once(timeout);
    if (!served) return served.error();
    return std::nullopt;
  }

  raw_record expected(hostile_peer& peer) override {
    peer_ = &peer;
    raw_record asked;
    asked.kind = a_call;
    asked.call = ++calls_;
    return asked;
  }

  std::optional<raw_record> lend(hostile_peer& peer, std::uint64_t size_bytes) override {
    raw_record asked = expected(peer);
    const std::string size = std::to_string(size_bytes);
    asked.function = 1;
    asked.inline_size = static_cast<std::uint32_t>(size.size());
    peer.put(asked, size);
    if (turn(5s)) return std::nullopt;
    return peer.next_record();  // it has answered, or ended
  }

  // The only records that a worker sends are answers: it answers a call that it deferred.
  errc send_one() override {
    if (deferred_.empty()) return errc::empty;
    const auto sent = deferred_.back().reply(std::span<const std::byte>());
    deferred_.pop_back();
    return sent ? errc{} : sent.error().code;
  }

  std::uint64_t bodies_lent() const override { return 0; }

 private:
  worker worker_;
  std::vector<responder> deferred_;
  std::uint64_t calls_ = 0;
  hostile_peer* peer_ = nullptr;
};

}  // namespace

session_options small_session() {
  session_options options;
  options.ring_bytes = 4096;
  options.returns_cells = 16;
  options.inline_limit = 512;
  options.arena.first_segment_bytes = 256 << 10;
  options.hello_timeout = 5s;
  return options;
}

std::unique_ptr<victim> victim::make(side who, session_options options) {
  if (who == side::client) return std::make_unique<client_victim>(options);
  return std::make_unique<worker_victim>(options);
}

std::optional<call_error> serve_to_the_end(victim& target) {
  const auto deadline = std::chrono::steady_clock::now() + 5s;
  while (std::chrono::steady_clock::now() < deadline) {
    if (auto over = target.turn(50ms)) return over;
  }
  return std::nullopt;
}

void expect_end(victim& target, const std::string& reason) {
  const auto over = serve_to_the_end(target);
  ASSERT_TRUE(over) << "the session goes on";
  EXPECT_NE(over->text.find(reason), std::string::npos) << over->message();
  // And it stays over.
  const auto again = target.turn(0ns);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->code, over->code);
  EXPECT_EQ(target.ended, target.begun);
  for (const call_error& failure : target.failures) {
    EXPECT_EQ(failure.code, errc::unavailable) << failure.message();
    EXPECT_NE(failure.text.find(reason), std::string::npos) << failure.message();
  }
}

void expect_life(victim& target) {
  for (int times = 0; times < 3; ++times) {
    const auto over = target.turn(1ms);
    EXPECT_FALSE(over) << over->message();
  }
}

void expect_health() {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  worker server;
  server.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
  std::thread serving([&server, socket = std::move(ends->second)]() mutable {
    if (!server.open(std::move(socket))) return;
    while (server.run_once(1s)) {
    }
  });
  {
    auto host = client::attach(std::move(ends->first));
    EXPECT_TRUE(host) << host.error().message();
    if (host) {
      const std::string small(40, 's'), large(100'000, 'l');
      for (const std::string& text : {small, large}) {
        const auto answer = host->call("echo", bytes_of(text));
        EXPECT_TRUE(answer && answer->text() == text);
      }
    }
  }
  serving.join();
}

fault_test::fault_test() {
  // Whatever is made once and kept (thread stacks, the kernel's io_uring trial) is made before.
  static const bool warmed_up = [] {
    expect_health();
    return true;
  }();
  (void)warmed_up;
  before_ = footprint::now();
  heap_forget_largest();
}

void fault_test::TearDown() {
  EXPECT_LT(heap_largest(), most_at_once_) << "allocated for what a peer claimed";
  EXPECT_EQ(footprint::now(), before_);
  expect_health();
  EXPECT_EQ(footprint::now(), before_);
}

}  // namespace ferry
