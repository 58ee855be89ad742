// Decodes    calls, binds, items, credits, ends, cancels and pings of a hostile host, by a worker
//            with functions that stream; answers, items, credits and ends of a hostile worker, by a
//            client with open streams.
// Input      one byte: which side is real; then operations of the peer (put records of the new
//            kinds, with numbers near those in use; read or leave what comes; hang up) and of the
//            real side (turn, open, send, read, drop, cancel).
// Property   the session goes on or ends with a reason, once and for all; every call has exactly
//            one outcome; a stream gives at most one error that ends it, and then the end for ever;
//            no body stays lent, and no descriptor or mapping is left behind.
#include <array>
#include <list>
#include <memory>
#include <vector>

#include "engine/client/client.h"
#include "engine/coro/manual_event.h"
#include "tests/fault/hostile_peer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/leak_watch.h"
#include "worker/worker.h"

namespace ferry {
namespace {

constexpr std::uint64_t ring_bytes = 4096;
constexpr std::size_t most_steps = 200;

session_options small_options() {
  session_options options;
  options.reactor = reactor_kind::epoll;
  options.ring_bytes = ring_bytes;
  options.returns_cells = 16;
  options.inline_limit = 256;
  options.arena.quota_bytes = 1 << 20;
  options.arena.first_segment_bytes = 64 << 10;
  options.wait.mode = wait_mode::block;
  return options;
}

// A record of any kind, its numbers near those that make sense.
void put_record(hostile_peer& peer, fuzz_input& input, std::uint64_t call) {
  raw_record record;
  record.kind = static_cast<std::uint8_t>(a_call + input.below(14));
  record.call = call;
  record.flags = static_cast<std::uint8_t>(input.below(8));
  record.code = static_cast<std::uint16_t>(input.below(20));
  record.function = input.below(8) | (input.flag() ? 1u << 31 : 0);
  record.spare = input.flag() ? input.below(40) : input.take<std::uint32_t>();
  record.deadline_ns = input.flag() ? input.take<std::uint64_t>() : input.take<std::uint16_t>();
  const auto text = input.text(input.below(64));
  record.inline_size = static_cast<std::uint32_t>(text.size());
  const std::uint64_t to_end = ring_bytes - (peer.next_position() & (ring_bytes - 1));
  if (to_end < sizeof record + text.size()) {  // a pad, as an honest producer puts it
    raw_record pad;
    pad.kind = a_pad;
    pad.inline_size = static_cast<std::uint32_t>(to_end - sizeof pad);
    peer.put(pad);
    peer.skip_to(peer.next_position() - sizeof pad + to_end);
  }
  peer.put(record, text);
}

void see_end(std::optional<call_error>& ended, const call_error& why) {
  FERRY_CHECK(!why.text.empty());
  if (!ended) ended = why;
  FERRY_CHECK(why.code == ended->code && why.text == ended->text);
}

// --- a worker -----------------------------------------------------------------------------------

class worker_stage {
 public:
  worker_stage() : peer_(plays::host, ring_bytes, 16), w_(small_options()) {
    w_.raw("echo", [](context& call, body content) { (void)call.reply(content.bytes()); });
    w_.function("add", [](int a, int b) { return a + b; });
    w_.function("numbers", [](sink<int>& out) -> task<> {
      for (int i = 0; i < 1000 && co_await out.send(i); ++i) {
      }
    });
    w_.function("sum", [](stream<int>& in) -> task<long> {
      long total = 0;
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        total += **item;
      }
      co_return total;
    });
    w_.function("mirror", [](stream<body>& in, sink<body>& out) -> task<> {
      for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
        if (!co_await out.send(std::move(**item))) co_return;
      }
    });
    w_.function("gated",
                [this](int value) -> task<int> {
                  co_await gate_;
                  co_return value;
                },
                {.concurrency = 2, .queue_limit = 2});
    w_.raw("kept", [this](context& call, body) { kept_.push_back(call.defer()); });
    FERRY_CHECK(peer_.send_hello());
    FERRY_CHECK(w_.open(peer_.victims_end()));
    FERRY_CHECK(peer_.take_hello());
  }

  void step(fuzz_input& input) {
    switch (input.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: return put_record(peer_, input, input.below(6));
      case 5:
        while (peer_.next_record()) {
        }
        return peer_.free_what_was_read();
      case 6:
        w_.loop().post([this] {
          gate_.set();
          gate_.reset();
        });
        return;
      case 7:
        if (!kept_.empty()) kept_.pop_back();
        return;
      case 8:
        if (input.below(8) == 1) peer_.hang_up();
        return;
      default: return turn();
    }
  }
  void end() {
    for (int i = 0; i < 4; ++i) turn();
  }

 private:
  void turn() {
    if (const auto ran = w_.run_once(); !ran) see_end(ended_, ran.error());
  }

  manual_event gate_;
  std::vector<responder> kept_;
  hostile_peer peer_;
  worker w_;
  std::optional<call_error> ended_;
};

// --- a client -----------------------------------------------------------------------------------

class client_stage {
 public:
  client_stage() : peer_(plays::worker, ring_bytes, 16) {
    FERRY_CHECK(peer_.send_hello());
    client_options options;
    options.session = small_options();
    options.max_calls = 16;
    auto made = client::attach(peer_.victims_end(), options);
    FERRY_CHECK(made);
    host_.emplace(std::move(*made));
    FERRY_CHECK(peer_.take_hello());
  }

  void step(fuzz_input& input) {
    switch (input.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return put_record(peer_, input,
                          calls_.empty() ? 0
                                         : calls_[input.below(static_cast<unsigned>(
                                               std::min<std::size_t>(calls_.size(), 256)))]);
      case 4:
        while (const auto record = peer_.next_record()) {
          if (record->kind == a_call && calls_.size() < 200) calls_.push_back(record->call);
        }
        return peer_.free_what_was_read();
      case 5: return open(input);
      case 6: return call(input);
      case 7:
      case 8: return use(input);
      case 9:
        stop_.request_stop();
        stop_ = {};
        return;
      case 10:
        if (input.below(8) == 1) peer_.hang_up();
        return;
      default: return turn();
    }
  }
  void end() {
    turn();
    host_.reset();  // ends every call that is left
    for (const int times : outcomes_) FERRY_CHECK(times == 1);
    for (auto& each : talks_) read(each, 1 << 20);
    for (auto& each : talks_) FERRY_CHECK(each.over);
    talks_.clear();
  }

 private:
  struct open_stream {
    bidi<body, body> talk;
    bool over = false;
  };

  void turn() {
    if (const auto ran = host_->run_once(); !ran) see_end(ended_, ran.error());
  }
  call_options options() {
    call_options out;
    out.wait_for_room = false;
    out.timeout = std::chrono::nanoseconds::max();  // a run does not depend on time
    out.stop = stop_;
    out.window = {4, 1000};
    return out;
  }
  void open(fuzz_input& input) {
    if (talks_.size() >= 8) return talks_.pop_front();
    call_options how = options();
    how.send_window = static_cast<std::uint16_t>(input.below(4));
    talks_.push_back({host_->open("mirror", how)});
  }
  void call(fuzz_input& input) {
    int& mine = outcomes_.emplace_back(0);
    const auto done = [&mine](call_result&&) { ++mine; };
    if (!host_->call_async(function_id{input.below(4)}, input.bytes(20), done, options())) {
      FERRY_CHECK(mine == 0);
      outcomes_.pop_back();
    }
  }
  // An error of one item may be followed by others; what ends a stream comes once.
  void read(open_stream& from, int most) {
    for (int i = 0; i < most; ++i) {
      const auto next = from.talk.responses().try_next();
      if (!next) {
        FERRY_CHECK(!from.over);
        return;
      }
      const bool end = *next && !**next;
      FERRY_CHECK(end || !from.over);
      if (end && std::exchange(from.over, true)) return;
    }
  }
  void use(fuzz_input& input) {
    if (talks_.empty()) return;
    auto at = std::next(talks_.begin(), input.below(static_cast<unsigned>(talks_.size())));
    switch (input.below(5)) {
      case 0: {
        auto bytes = input.bytes(input.take<std::uint8_t>());
        (void)at->talk.try_send(bytes);
        return;
      }
      case 1: return at->talk.close_send();
      case 2: return void(talks_.erase(at));
      default: return read(*at, 1 + static_cast<int>(input.below(8)));
    }
  }

  hostile_peer peer_;
  std::optional<client> host_;
  std::optional<call_error> ended_;
  std::vector<std::uint64_t> calls_;  // that the peer has seen
  std::list<int> outcomes_;           // of calls with a callback
  std::list<open_stream> talks_;
  std::stop_source stop_;
};

template <class Stage>
void run_on(fuzz_input& input) {
  Stage stage;
  for (std::size_t steps = 0; steps < most_steps && !input.empty(); ++steps) stage.step(input);
  stage.end();
}

void run(fuzz_input input) {
  input.flag() ? run_on<worker_stage>(input) : run_on<client_stage>(input);
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  static ferry::leak_watch watch;
  ferry::run(ferry::fuzz_input(data, size_bytes));
  watch.after_run();
  return 0;
}
