// The worker of the stream tests: see stream_methods.h.
#include <atomic>
#include <cstring>
#include <thread>

#include "engine/coro/manual_event.h"
#include "tests/e2e/stream_methods.h"
#include "worker/worker.h"

using namespace ferry;
using namespace ferry::streams;
using namespace std::chrono_literals;

namespace {

std::atomic<int> stops{0};
std::atomic<int> silent_begun{0};
std::atomic<int> begun{0};

void count_to(int end, sink<int>& out) {
  for (int i = 0; i < end; ++i) {
    if (!out.write(i)) {
      ++stops;
      return;
    }
  }
}

int wait_for_stop(context& call) {
  ++begun;
  while (!call.stop_requested()) std::this_thread::sleep_for(100us);
  return ++stops;
}

void register_calls(worker& w) {
  w.function(add, [](int a, int b) { return a + b; });
  w.function(refuse, [](int code) -> result<int, refusal> { return refusal{code, "no"}; });
  w.function(mirror, [](body content) { return content; });
  w.function(on_lane,
             [](int ms) {
               ++begun;
               std::this_thread::sleep_for(ms * 1ms);
               return ms;
             },
             {.concurrency = 2, .queue_limit = 1});
  w.function(co_sleep, [loop = w.loop()](int ms) mutable -> task<int> {
    co_await loop.sleep_for(ms * 1ms);
    co_return ms;
  });
  w.function(co_limited,
             [loop = w.loop()](int ms) mutable -> task<int> {
               co_await loop.sleep_for(ms * 1ms);
               co_return ms;
             },
             {.concurrency = 2, .queue_limit = 1});
  w.function(until_stopped, [](context& call) { return wait_for_stop(call); });
  w.function(lane_until_stopped, [](context& call) { return wait_for_stop(call); },
             {.concurrency = 4});
  w.function(co_until_stopped, [](context& call) -> task<int> {
    ++begun;
    manual_event asked;
    const std::stop_callback wake(call.stop_token(), [&] { asked.set(); });
    co_await asked;
    co_return ++stops;
  });
  w.function(stopped, [] { return stops.load(); });
  w.function(lane_begun, [] { return begun.load(); });
  w.function(time_left_ms, [](context& call) -> long {
    if (!call.deadline()) return -1;
    return std::chrono::duration_cast<std::chrono::milliseconds>(*call.deadline() -
                                                                 std::chrono::steady_clock::now())
        .count();
  });
  w.function(version, [] { return 1; });
  w.function(replace, [&w](const std::string& times) {
    const int end = std::stoi(times);
    for (int i = 0; i < end; ++i) {
      w.function("generated." + std::to_string(i), [i] { return i; });
    }
    w.function(version, [] { return 2; });
    return end;
  });
}

void register_streams(worker& w) {
  w.function(count, [](int end, sink<int>& out) { count_to(end, out); });
  w.function(count_slowly,
             [](int end, int ms, sink<int>& out) {
               for (int i = 0; i < end; ++i) {
                 std::this_thread::sleep_for(ms * 1ms);
                 if (!out.write(i)) return;
               }
             },
             {.concurrency = 4});
  w.function(co_count, [](int end, sink<int>& out) -> task<> {
    for (int i = 0; i < end; ++i) {
      if (!co_await out.send(i)) co_return;
    }
  });
  w.function(count_then_fail, [](int end, int code, sink<int>& out) -> result<void, refusal> {
    count_to(end, out);
    return refusal{code, "later"};
  });
  w.function(blobs, [](int items, int bytes, sink<body>& out) {
    for (int i = 0; i < items; ++i) {
      auto item = out.borrow(static_cast<std::uint64_t>(bytes));
      if (!item) return;
      std::memset(item->data(), i & 0xff, item->size());
      if (!out.write(std::move(*item))) return;
    }
  });
  w.function(co_blobs, [](int items, int bytes, sink<body>& out) -> task<> {
    for (int i = 0; i < items; ++i) {
      auto item = out.borrow(static_cast<std::uint64_t>(bytes));
      if (!item) co_return;
      std::memset(item->data(), i & 0xff, item->size());
      if (!co_await out.send(std::move(*item))) co_return;
    }
  });
  w.function(empties, [](int items, sink<std::string>& out) {
    for (int i = 0; i < items; ++i) {
      if (!out.write(std::string())) return;
    }
  });
  w.raw("with_bad_items", method_kind::server_stream, [](context& call, body) {
    auto out = call.output<int>();
    (void)out.write(1);
    (void)call.send_error(errc::execution_failed, "the second one is bad");
    (void)out.write(3);
    (void)call.reply(std::string_view());
  });
  w.raw("not_an_int", method_kind::server_stream, [](context& call, body) {
    auto out = call.output<std::string>();
    (void)out.write("text");
    (void)call.reply(std::string_view());
  });
  w.function(work_long,
             [](context& call, int ms, sink<int>& out) {
               for (int spent = 0; spent < ms; spent += 20) {
                 std::this_thread::sleep_for(20ms);
                 call.progress();
               }
               (void)out.write(ms);
             },
             {.concurrency = 2});
  w.function(mark_once,
             [](context& call, int ms, sink<int>&) {
               std::this_thread::sleep_for(ms * 1ms);
               call.progress();
               while (!call.stop_requested()) std::this_thread::sleep_for(1ms);
             },
             {.concurrency = 1});
  w.function(endless, [](sink<int>& out) { count_to(1 << 30, out); });
  w.function(sum, [](stream<int>& in) {
    long total = 0;
    for (auto item = in.read(); item && *item; item = in.read()) total += **item;
    return total;
  });
  w.function(total_bytes, [](stream<body>& in) {
    long total = 0;
    for (auto item = in.read(); item && *item; item = in.read()) {
      total += static_cast<long>((*item)->size());
    }
    return total;
  });
  w.function(read_three, [](stream<std::string>& in) {
    int good = 0;
    for (int i = 0; i < 3; ++i) {
      const auto item = in.read();
      if (item && *item) ++good;
    }
    return good;
  });
  w.function(twice, [](stream<int>& in, sink<int>& out) {
    for (auto item = in.read(); item && *item; item = in.read()) {
      if (!out.write(2 * **item)) break;
    }
    if (!out.write(-1)) ++stops;
  });
  w.function(co_twice, [](stream<int>& in, sink<int>& out) -> task<> {
    for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
      if (!co_await out.send(2 * **item)) {
        ++stops;
        co_return;
      }
    }
  });
  w.function(end_after_one, [](stream<int>& in, sink<int>& out) {
    (void)in.read();
    (void)out.write(1);
  });
  w.function(silent_begins, [] { return silent_begun.load(); });
  w.function(silent, [](stream<int>& in, sink<int>&) {
    ++silent_begun;
    while (const auto item = in.read()) {
      if (!*item) break;
    }
    ++stops;
  });
}

}  // namespace

int main() {
  worker w;
  register_calls(w);
  register_streams(w);
  return w.main();
}
