// Calls and streams of every form from several threads of one client at once, against a worker that
// serves meanwhile and may go at any moment: each has exactly one outcome, and nothing is left.
// Seed      printed when a test fails; FERRY_SEED=N repeats the choices, not the interleaving.
#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <random>

#include "tests/unit/worker/one_process.h"

namespace ferry {
namespace {

inline const method<int(int)> echo{"echo"}, slow{"slow"}, fails{"fails"}, unknown{"unknown"};
inline const method<int(int)> on_lane{"on_lane"};
inline const method<streamed<int>(int)> count{"count"};
inline const method<long(streamed<int>)> sum{"sum"};

constexpr int threads = 4;
constexpr int calls_each = 150;

std::uint64_t seed() {
  const char* given = std::getenv("FERRY_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

void add_functions(worker& w) {
  w.function(echo, [](int value) { return value; });
  w.function(fails, [](int value) -> result<int, call_error> {
    return call_error{errc::unauthorized, "number " + std::to_string(value), false};
  });
  w.function(slow, [&w](int value) -> task<int> {
    co_await w.loop().sleep_for(std::chrono::microseconds(value));
    co_return value;
  });
  w.function(on_lane, [](int value) { return value; }, {.concurrency = 2, .queue_limit = 3});
  w.function(count, [](int end, sink<int>& out) -> task<> {
    for (int i = 0; i < end; ++i) {
      if (!co_await out.send(i)) co_return;
    }
  });
  w.function(sum, [](stream<int>& in) -> task<long> {
    long total = 0;
    for (auto item = co_await in.next(); item && *item; item = co_await in.next()) total += **item;
    co_return total;
  });
}

// What one thread does with the client.
class caller {
 public:
  caller(client& host, std::uint64_t seed) : host_(host), random_(seed) {}

  void run() {
    for (int i = 0; i < calls_each; ++i) step();
  }
  // Of calls by callback: begun, and ended by now.
  int begun() const { return begun_; }
  int ended() const { return ended_.load(); }

 private:
  int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

  void step() {
    std::stop_source stop;
    call_options options;
    options.wait_for_room = below(3) != 0;
    if (below(4) == 0) options.timeout = std::chrono::microseconds(below(2000));
    if (below(3) == 0) {
      if (below(3) == 0) stop.request_stop();
      options.stop = stop;
    }
    const int value = below(1000);
    const method<int(int)>* all[] = {&echo, &echo, &slow, &fails, &unknown, &on_lane};
    const method<int(int)>& to = *all[below(std::size(all))];
    switch (below(5)) {
      case 0:
      case 1: {
        const auto outcome = host_.call(to, options, value);
        EXPECT_TRUE(!outcome || *outcome == value);
        return;
      }
      case 2: {
        const auto note = [this, value](result<int, call_error>&& r) {
          EXPECT_TRUE(!r || *r == value);
          ended_.fetch_add(1);
        };
        if (host_.call_async(to, options, note, value)) ++begun_;
        if (below(2) == 0) stop.request_stop();
        return;
      }
      case 3: {
        auto items = host_.server_stream(count, options, value);
        int next = 0;
        for (int i = below(200); i > 0; --i) {
          const auto item = items.read();
          if (!item || !*item) break;
          ASSERT_EQ(**item, next++);
        }
        return;  // mostly dropped before its end
      }
      default: {
        auto up = host_.upload(sum, options);
        long total = 0;
        const int items = below(100);
        for (int i = 0; i < items; ++i) {
          if (!up.write(i)) break;
          total += i;
        }
        const auto answer = up.finish();
        EXPECT_TRUE(!answer || *answer == total);
      }
    }
  }

  client& host_;
  std::mt19937_64 random_;
  int begun_ = 0;
  std::atomic<int> ended_{0};
};

TEST(call_threads_property, every_call_of_many_threads_has_one_outcome_and_leaves_nothing) {
  const std::uint64_t first = seed();
  SCOPED_TRACE("FERRY_SEED=" + std::to_string(first));
  std::mt19937_64 random(first);
  for (int round = 0; round < 12 && !testing::Test::HasFailure(); ++round) {
    worker w;
    add_functions(w);
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    const unique_fd cut(::fcntl(ends->first.get(), F_DUPFD_CLOEXEC, 0));
    std::thread handshake([&] { EXPECT_TRUE(w.open(std::move(ends->second))); });
    client_options options;
    options.session.ring_bytes = 4096u << random() % 4;
    options.session.inline_limit = 512;
    options.max_calls = static_cast<std::uint32_t>(4 + random() % 60);
    auto host = client::attach(std::move(ends->first), options);
    handshake.join();
    ASSERT_TRUE(host);
    const serving_thread serving(w);
    std::vector<std::unique_ptr<caller>> callers;
    {
      std::vector<std::jthread> running;
      for (int i = 0; i < threads; ++i) {
        callers.push_back(std::make_unique<caller>(*host, random()));
        running.emplace_back([&, mine = callers.back().get()] { mine->run(); });
      }
      if (round % 3 == 2) {  // the session ends while they call
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
        round % 2 == 0 ? (void)::shutdown(cut.get(), SHUT_RDWR) : host->close();
      }
    }
    const auto all_ended = [&] {
      return std::ranges::all_of(callers,
                                 [](const auto& each) { return each->begun() == each->ended(); });
    };
    const auto deadline = std::chrono::steady_clock::now() + generous;
    const auto settled = [&] {
      const client_stats now = host->stats();
      return all_ended() && now.calls_in_flight == 0 && now.streams_open == 0 &&
             now.bodies_lent == 0;
    };
    while (!settled() && std::chrono::steady_clock::now() < deadline) (void)host->run_once(5ms);
    for (const auto& each : callers) EXPECT_EQ(each->begun(), each->ended()) << round;
    const client_stats now = host->stats();
    EXPECT_EQ(now.calls_in_flight, 0u) << round;
    EXPECT_EQ(now.streams_open, 0u) << round;
    EXPECT_EQ(now.bodies_lent, 0u) << round;
  }
}

}  // namespace
}  // namespace ferry
