// Calls and streams of every form against a worker, in random order, with every kind of end: each
// has exactly one outcome, and nothing is left in flight, open, lent or unclosed.
// Seed      printed when a test fails; FERRY_SEED=N repeats it.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <random>

#include "engine/coro/manual_event.h"
#include "tests/unit/worker/one_process.h"

namespace ferry {
namespace {

inline const method<int(int)> echo{"echo"}, fails{"fails"}, unknown{"unknown"}, held{"held"};
inline const method<int(int)> co_gate{"co_gate"}, co_limited{"co_limited"}, on_lane{"on_lane"};
inline const method<body(std::span<const std::byte>)> mirror{"mirror"};
inline const method<streamed<int>(int)> count{"count"}, endless{"endless"}, no_stream{"no_stream"};
inline const method<streamed<body>(int)> blobs{"blobs"};
inline const method<long(streamed<int>)> sum{"sum"}, first_only{"first_only"};
inline const method<streamed<int>(streamed<int>)> twice{"twice"}, bad_twice{"bad_twice"};

class chance {
 public:
  chance() {
    const char* given = std::getenv("FERRY_SEED");
    seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    random_.seed(seed_);
  }
  std::uint64_t seed() const { return seed_; }
  int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }
  bool one_in(int many) { return below(many) == 0; }

 private:
  std::uint64_t seed_ = 0;
  std::mt19937_64 random_;
};

// A worker whose functions end when they are told to.
struct stage {
  worker w;
  std::vector<responder> deferred;
  manual_event gate;
  chance& random;

  explicit stage(chance& given) : random(given) {
    w.function(echo, [](int value) { return value; });
    w.function(fails, [](int value) -> result<int, call_error> {
      return call_error{errc::unauthorized, "number " + std::to_string(value), false};
    });
    w.raw("held", [this](context& call, body) { deferred.push_back(call.defer()); });
    w.function(co_gate, [this](int value) -> task<int> {
      co_await gate;
      co_return value;
    });
    w.function(co_limited,
               [this](int value) -> task<int> {
                 co_await gate;
                 co_return value;
               },
               {.concurrency = 2, .queue_limit = 2});
    w.function(on_lane, [](int value) { return value; }, {.concurrency = 2, .queue_limit = 3});
    w.raw("mirror", [](context& call, body content) { (void)call.reply(content.bytes()); });
    w.function(count, [](int end, sink<int>& out) -> task<> {
      for (int i = 0; i < end; ++i) {
        if (!co_await out.send(i)) co_return;
      }
    });
    w.function(endless, [](int, sink<int>& out) -> task<> {
      for (int i = 0; co_await out.send(i); ++i) {
      }
    });
    w.function(blobs, [](int size, sink<body>& out) -> task<> {
      for (int i = 0; i < 40; ++i) {
        auto item = out.borrow(static_cast<std::uint64_t>(size));
        if (!item || !co_await out.send(std::move(*item))) co_return;
      }
    });
    w.function(sum, [](stream<int>& in) -> task<long> {
      long total = 0;
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        total += **item;
      }
      co_return total;
    });
    w.function(first_only, [](stream<int>& in) -> task<long> {
      const auto item = co_await in.next();
      co_return item&&* item ? **item : -1;
    });
    w.function(twice, [](stream<int>& in, sink<int>& out) -> task<> {
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        if (!co_await out.send(2 * **item)) co_return;
      }
    });
    w.function(bad_twice, [](stream<int>& in, sink<int>& out) -> task<result<void, call_error>> {
      (void)co_await in.next();
      (void)co_await out.send(1);
      co_return call_error{errc::execution_failed, "enough", false};
    });
  }

  void answer_some() {
    while (!deferred.empty() && random.below(4) != 0) {
      const auto which = deferred.begin() + random.below(static_cast<int>(deferred.size()));
      switch (random.below(3)) {
        case 0: (void)which->reply(std::string_view("\x01")); break;
        case 1: (void)which->fail(errc::execution_failed, "told to"); break;
        default: break;  // its responder goes
      }
      deferred.erase(which);
    }
    if (random.one_in(3)) open_gate();
  }
  void open_gate() {
    w.loop().post([this] {
      gate.set();
      gate.reset();
    });
  }
};

// One host and all that it began.
class actor {
 public:
  actor(stage& on, chance& random, std::map<errc, int>& seen)
      : stage_(on), random_(random), seen_(seen) {
    auto ends = socket_pair();
    FERRY_CHECK(ends);
    cut_ = unique_fd(::fcntl(ends->first.get(), F_DUPFD_CLOEXEC, 0));
    std::thread other([&] { FERRY_CHECK(on.w.open(std::move(ends->second))); });
    client_options options;
    options.max_calls = static_cast<std::uint32_t>(4 + random.below(60));
    options.session.ring_bytes = 4096u << random.below(3);
    options.session.inline_limit = 512;
    auto made = client::attach(std::move(ends->first), options);
    other.join();
    FERRY_CHECK(made);
    host_.emplace(std::move(*made));
  }
  ~actor() { finish(); }

  void step() {
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2: return call();
      case 3: return call_awaited();
      case 4: return open();
      case 5:
      case 6: return use_streams();
      case 7:
        if (!stops_.empty()) stops_[pick(stops_)].request_stop();
        return;
      case 8:
        if (!tasks_.empty() && random_.one_in(3)) tasks_.erase(tasks_.begin() + index(tasks_));
        return;
      case 9: return stage_.answer_some();
      default: (void)stage_.w.run_once(); (void)host_->run_once();
    }
  }

  // Everything is ended, somehow, and nothing must be left.
  void settle() {
    for (auto& stop : stops_) stop.request_stop();
    streams_.clear();
    talks_.clear();
    uploads_.clear();
    stops_.clear();
    const auto calm = [&] {
      stage_.deferred.clear();
      stage_.open_gate();
      const client_stats now = host_->stats();
      return now.calls_in_flight == 0 && now.streams_open == 0 && now.bodies_lent == 0;
    };
    const bool calmed = turn_until(stage_.w, *host_, calm);
    const client_stats now = host_->stats();
    for (const auto& each : host_->holdings().calls) {
      ADD_FAILURE() << each.function << " for " << each.age.count() / 1'000'000 << " ms";
    }
    EXPECT_TRUE(calmed) << now.calls_in_flight << " calls, " << now.streams_open << " streams, "
                        << now.bodies_lent << " bodies";
    tasks_.clear();
    expect_one_outcome_each();
  }

  void die() {
    ::shutdown(cut_.get(), SHUT_RDWR);
    (void)turn_until(stage_.w, *host_, [&] { return !host_->connected(); });
    (void)host_->run_once();
  }
  void close() { host_->close(); }
  void finish() {
    if (!host_) return;
    tasks_.clear();
    host_.reset();
    expect_one_outcome_each();
    streams_.clear();
    talks_.clear();
    uploads_.clear();
    for (int i = 0; i < 3; ++i) (void)stage_.w.run_once();
  }

 private:
  struct outcome {
    int count = 0;
    bool given_up = false;  // destroyed with its task: none at all is right too
  };

  template <class List>
  std::ptrdiff_t index(const List& list) {
    return random_.below(static_cast<int>(list.size()));
  }
  template <class List>
  std::size_t pick(const List& list) {
    return static_cast<std::size_t>(index(list));
  }
  void note(outcome& of, errc code) {
    ++of.count;
    ++seen_[code];
  }
  void expect_one_outcome_each() {
    for (const auto& each : outcomes_) EXPECT_TRUE(each.count == 1 || each.given_up) << each.count;
    outcomes_.clear();
  }

  call_options options() {
    call_options out;
    out.wait_for_room = false;
    if (random_.one_in(4)) {
      out.timeout = std::chrono::microseconds(random_.below(3000));
    } else if (random_.one_in(4)) {
      out.timeout = std::chrono::nanoseconds::max();
    }
    if (random_.one_in(3)) {
      stops_.emplace_back();
      if (random_.one_in(5)) stops_.back().request_stop();
      out.stop = stops_.back();
    } else if (!stops_.empty() && random_.one_in(3)) {
      out.stop = stops_[pick(stops_)];
    }
    out.window.items = static_cast<std::uint32_t>(1 + random_.below(40));
    out.window.bytes = static_cast<std::uint64_t>(1 + random_.below(100'000));
    out.send_window = static_cast<std::uint16_t>(random_.below(20));
    return out;
  }

  const method<int(int)>& any_call() {
    const method<int(int)>* all[] = {&echo, &echo,    &fails,      &unknown, &held,
                                     &held, &co_gate, &co_limited, &on_lane, &on_lane};
    return *all[random_.below(std::size(all))];
  }

  void call() {
    outcome& mine = outcomes_.emplace_back();
    result<void, call_error> started;
    if (random_.one_in(4)) {
      const std::string text(static_cast<std::size_t>(random_.below(4000)), 'x');
      started = host_->call_async(
          mirror, options(), [&](result<body, call_error>&& r) { note(mine, code_of(r)); },
          std::as_bytes(std::span(text)));
    } else {
      started = host_->call_async(
          any_call(), options(), [&](result<int, call_error>&& r) { note(mine, code_of(r)); }, 7);
    }
    if (!started) {
      EXPECT_EQ(mine.count, 0);
      outcomes_.pop_back();
    }
  }

  void call_awaited() {
    const auto wait = [](actor* self, client& host, const method<int(int)>& to, call_options how,
                         outcome& mine) -> task<> {
      const auto answer = co_await host.call_task(to, how, 3);
      mine.given_up = false;
      self->note(mine, code_of(answer));
    };
    outcome& mine = outcomes_.emplace_back();
    // Coroutines belong on the driving thread.
    auto how = options();
    host_->loop().post(
        [&, how] { tasks_.push_back(start(wait(this, *host_, any_call(), how, mine))); });
    mine.given_up = true;  // until it has begun
    (void)host_->run_once();
  }

  void open() {
    switch (random_.below(5)) {
      case 0: streams_.push_back(host_->server_stream(count, options(), random_.below(100))); break;
      case 1: streams_.push_back(host_->server_stream(endless, options(), 0)); break;
      case 2: streams_.push_back(host_->server_stream(no_stream, options(), 0)); break;
      case 3:
        uploads_.push_back(host_->upload(random_.one_in(2) ? sum : first_only, options()));
        break;
      default: talks_.push_back(host_->open(random_.one_in(3) ? bad_twice : twice, options()));
    }
    if (random_.one_in(5)) {
      auto large = host_->server_stream(blobs, options(), random_.below(5000));
      (void)stage_.w.run_once();
      (void)large.try_next();
    }
  }

  template <class T>
  void read_some(stream<T>& from) {
    for (int i = random_.below(30); i > 0; --i) {
      const auto next = from.try_next();
      if (!next) return;
      if (*next && **next) continue;
      // An error comes once, and then the end for ever.
      const auto again = from.try_next();
      ASSERT_TRUE(again && *again && !**again);
      return;
    }
  }

  void use_streams() {
    if (!streams_.empty()) {
      const auto at = index(streams_);
      read_some(streams_[static_cast<std::size_t>(at)]);
      if (random_.one_in(8)) streams_.erase(streams_.begin() + at);
    }
    if (!talks_.empty()) {
      const auto at = index(talks_);
      auto& talk = talks_[static_cast<std::size_t>(at)];
      for (int i = random_.below(20); i > 0; --i) {
        if (const auto sent = talk.try_send(i); !sent || !*sent) break;
      }
      read_some(talk.responses());
      if (random_.one_in(6)) talk.close_send();
      if (random_.one_in(10)) talk.abort();
      if (random_.one_in(8)) talks_.erase(talks_.begin() + at);
    }
    if (!uploads_.empty()) {
      const auto at = index(uploads_);
      for (int i = random_.below(20); i > 0; --i) {
        const auto sent = uploads_[static_cast<std::size_t>(at)].try_send(i);
        if (!sent || !*sent) break;
      }
      if (random_.one_in(8)) uploads_.erase(uploads_.begin() + at);
    }
  }

  stage& stage_;
  chance& random_;
  std::map<errc, int>& seen_;  // outcomes of calls
  unique_fd cut_;
  std::optional<client> host_;
  std::list<outcome> outcomes_;
  std::deque<std::stop_source> stops_;
  std::vector<spawned> tasks_;
  std::vector<stream<int>> streams_;
  std::vector<bidi<int, int>> talks_;
  std::vector<upload<int, long>> uploads_;
};

// How often calls ended how.
std::map<errc, int> run_hosts(stage& on, chance& random, int hosts) {
  std::map<errc, int> seen;
  for (int host = 0; host < hosts && !testing::Test::HasFailure(); ++host) {
    SCOPED_TRACE("host " + std::to_string(host));
    std::vector<std::unique_ptr<actor>> actors;
    for (int i = random.below(3); i >= 0; --i) {
      actors.push_back(std::make_unique<actor>(on, random, seen));
    }
    for (int round = 0; round < 30 && !testing::Test::HasFailure(); ++round) {
      for (int steps = random.below(60); steps > 0; --steps) {
        actors[static_cast<std::size_t>(random.below(static_cast<int>(actors.size())))]->step();
      }
      if (random.one_in(3)) {
        for (auto& each : actors) each->settle();
      }
    }
    for (auto& each : actors) {
      switch (random.below(4)) {
        case 0: each->die(); break;
        case 1: each->close(); break;
        case 2: each->settle(); break;
        default: break;  // it just goes
      }
    }
  }
  return seen;
}

TEST(call_property, every_call_has_one_outcome_and_leaves_nothing_whatever_ends_it) {
  chance random;
  SCOPED_TRACE("FERRY_SEED=" + std::to_string(random.seed()));
  {
    stage first(random);
    (void)run_hosts(first, random, 1);  // what is made once and kept
  }
  const std::size_t before = open_descriptors();
  {
    stage on(random);
    const auto seen = run_hosts(on, random, 100);
    for (const errc each :
         {errc{}, errc::timeout, errc::cancelled, errc::unavailable, errc::overloaded,
          errc::unauthorized, errc::function_not_found, errc::execution_failed, errc::closed}) {
      EXPECT_TRUE(seen.contains(each)) << "never seen: " << name_of(each);
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace ferry
