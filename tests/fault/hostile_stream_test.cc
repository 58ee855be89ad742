// Streams with a peer that breaks their rules: what it may not send ends its session with a reason;
// what is only useless is ignored; nothing that it sends makes the victim grow or wait.
#include "engine/coro/manual_event.h"
#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

enum : std::uint8_t {
  a_cancel = 7,
  a_bind = 8,
  an_item = 9,
  an_end = 10,
  a_credit = 11,
  a_progress = 12,
  a_ping = 13,
};
enum : std::uint8_t { host_sends = 1, host_wants = 2 };

raw_record record_of(std::uint8_t kind, std::uint64_t call = 0) {
  raw_record record;
  record.kind = kind;
  record.call = call;
  return record;
}
raw_record credit_of(std::uint64_t call, std::uint32_t items, std::uint64_t bytes) {
  raw_record record = record_of(a_credit, call);
  record.spare = items;
  record.deadline_ns = bytes;
  return record;
}

// --- a worker and a hostile host ----------------------------------------------------------------

class hostile_stream : public fault_test {
 protected:
  enum : std::uint32_t { plain, counts, sums, both, stuck };
  static constexpr std::uint64_t roomy = 64 << 10;

  struct host_of_worker {
    host_of_worker() : peer(plays::host, roomy) {
      w.raw("plain", [](context& call, body) { (void)call.reply(std::string_view("x")); });
      w.function("counts", [](sink<int>& out) -> task<> {
        for (int i = 0; co_await out.send(i); ++i) {
        }
      });
      w.function("sums", [this](stream<body>& in) -> task<int> {
        co_await go;
        int items = 0;
        for (auto item = co_await in.next(); item && *item; item = co_await in.next()) ++items;
        co_return items;
      });
      w.function("both", [this](stream<body>& in, sink<body>& out) -> task<> {
        co_await go;
        for (auto item = co_await in.next(); item && *item; item = co_await in.next()) {
          if (!co_await out.send(std::move(**item))) co_return;
        }
      });
      w.function("stuck", [this](stream<body>&) -> task<int> {
        co_await never;
        co_return 1;
      });
      EXPECT_TRUE(peer.send_hello());
      EXPECT_TRUE(w.open(peer.victims_end()));
      EXPECT_TRUE(peer.take_hello());
    }
    void open(std::uint64_t call, std::uint32_t function, std::uint8_t flags) {
      raw_record record = record_of(a_call, call);
      record.function = function;
      record.flags = flags;
      peer.put(record);
    }
    // What the worker says after it has served what there is.
    std::vector<raw_record> answers() {
      serve();
      std::vector<raw_record> out;
      while (auto record = peer.next_record()) out.push_back(*record);
      peer.free_what_was_read();
      return out;
    }
    void serve() {
      for (int i = 0; i < 20; ++i) (void)w.run_once();
    }
    void expect_end(const std::string& reason) {
      std::optional<call_error> why;
      for (int i = 0; i < 100 && !why; ++i) {
        if (const auto ran = w.run_once(10ms); !ran) why = ran.error();
      }
      ASSERT_TRUE(why) << "the session goes on";
      EXPECT_NE(why->text.find(reason), std::string::npos) << why->message();
    }
    void expect_life() {
      peer.put(record_of(a_ping, 999'999));
      bool pong = false;
      for (const raw_record& each : answers()) pong |= each.kind == 14 && each.call == 999'999;
      EXPECT_TRUE(pong) << "the worker does not answer";
    }

    manual_event go, never;
    hostile_peer peer;
    worker w;
  };
};

TEST_F(hostile_stream, items_beyond_the_window_end_the_session) {
  host_of_worker it;
  it.open(1, sums, host_sends);
  it.serve();
  for (int i = 0; i < 1024; ++i) {  // the default window, told by a credit
    if (i % 256 == 0) it.serve();
    it.peer.put(record_of(an_item, 1));
  }
  it.expect_life();
  it.peer.put(record_of(an_item, 1));
  it.expect_end("beyond the window");
}

TEST_F(hostile_stream, items_to_a_function_that_takes_none_end_the_session) {
  host_of_worker it;
  it.open(1, counts, host_wants);
  it.peer.put(record_of(an_item, 1));
  it.expect_end("beyond the window");
}

TEST_F(hostile_stream, credits_beyond_all_measure_end_the_session) {
  for (const std::uint64_t bytes : {~0ull, 1ull << 63, (1ull << 48) + 1}) {
    host_of_worker it;
    it.open(1, counts, host_wants);
    it.peer.put(credit_of(1, 1, bytes));
    it.expect_end("beyond all measure");
  }
  host_of_worker it;
  it.open(1, both, host_wants | host_sends);  // it sends nothing yet, so credits add up
  it.peer.put(credit_of(1, ~0u, 1));
  it.peer.put(credit_of(1, ~0u, 1));
  it.expect_end("beyond all measure");
}

TEST_F(hostile_stream, credits_of_nothing_wake_nobody_for_nothing) {
  host_of_worker it;
  it.open(1, counts, host_wants);
  for (int i = 0; i < 100; ++i) it.peer.put(credit_of(1, 0, 0));
  EXPECT_TRUE(it.answers().empty());
  it.peer.put(credit_of(1, 3, 0));  // items without bytes: still nothing
  EXPECT_TRUE(it.answers().empty());
  it.peer.put(credit_of(1, 0, 1));  // the last item may exceed the bytes
  EXPECT_EQ(it.answers().size(), 1u);
  it.expect_life();
}

TEST_F(hostile_stream, records_of_calls_that_nobody_made_are_ignored) {
  host_of_worker it;
  for (const std::uint64_t call : {std::uint64_t{0}, std::uint64_t{77}, ~std::uint64_t{0}}) {
    for (const std::uint8_t kind : {a_cancel, an_item, an_end, a_credit}) {
      it.peer.put(record_of(kind, call));
    }
  }
  EXPECT_TRUE(it.answers().empty());
  it.expect_life();
}

TEST_F(hostile_stream, records_that_come_after_the_end_are_ignored) {
  host_of_worker it;
  it.go.set();
  it.open(1, sums, host_sends);
  for (int times = 0; times < 3; ++times) it.peer.put(record_of(an_end, 1));
  it.peer.put(record_of(an_item, 1));
  it.peer.put(record_of(a_cancel, 1));
  it.peer.put(record_of(a_cancel, 1));
  it.expect_life();
}

TEST_F(hostile_stream, flags_that_do_not_match_the_function_are_refused_and_no_more) {
  host_of_worker it;
  struct mismatch {
    std::uint32_t function;
    std::uint8_t flags;
  };
  std::uint64_t call = 0;
  for (const mismatch each : {mismatch{plain, 1},
                              {plain, 2},
                              {plain, 3},
                              {counts, 0},
                              {counts, 1},
                              {counts, 3},
                              {sums, 0},
                              {sums, 2},
                              {sums, 3},
                              {both, 0},
                              {both, 1},
                              {both, 2}}) {
    it.open(++call, each.function, each.flags);
    const auto answers = it.answers();
    ASSERT_EQ(answers.size(), 1u) << each.function << " with " << int{each.flags};
    EXPECT_EQ(answers[0].kind, a_failure);
    EXPECT_EQ(answers[0].code, static_cast<std::uint16_t>(errc::invalid_request));
    EXPECT_EQ(answers[0].call, call);
  }
  it.expect_life();
}

TEST_F(hostile_stream, two_calls_with_one_number_end_the_session) {
  host_of_worker it;
  it.open(5, sums, host_sends);
  it.open(5, counts, host_wants);
  it.expect_end("the number of another one");
}

TEST_F(hostile_stream, names_with_numbers_out_of_turn_end_the_session) {
  for (const std::uint32_t number : {0u, 1u, 5u, (1u << 31) + 1, ~0u}) {
    host_of_worker it;
    raw_record record = record_of(a_bind);
    record.function = number;
    record.inline_size = 5;
    it.peer.put(record, "plain");
    it.expect_end("a number for a function that cannot be");
  }
}

TEST_F(hostile_stream, more_names_than_a_host_may_give_end_the_session) {
  host_of_worker it;
  std::optional<call_error> why;
  for (std::uint32_t number = 0; number < 5000 && !why; ++number) {
    raw_record record = record_of(a_bind);
    record.function = (1u << 31) + number;
    record.inline_size = 5;
    it.peer.put(record, "plain");
    if (const auto ran = it.w.run_once(); !ran) why = ran.error();
  }
  ASSERT_TRUE(why);
  EXPECT_NE(why->text.find("cannot be"), std::string::npos) << why->message();
}

TEST_F(hostile_stream, opens_and_pings_that_nobody_reads_are_bounded) {
  host_of_worker it;
  std::uint64_t put = 0;
  // Answers fill the ring, then what is owed; then the worker reads no more, and nor does it grow.
  for (; put < 20'000; ++put) {
    const std::uint64_t unread = it.peer.next_position() - it.peer.victims_word(records_read_at);
    if (unread + 256 > roomy) {
      (void)it.w.run_once();
      const std::uint64_t now = it.peer.next_position() - it.peer.victims_word(records_read_at);
      if (now + 256 > roomy) break;
    }
    it.open(put + 1, put % 2 == 0 ? plain : counts, 0);
    if (put % 16 == 0) (void)it.w.run_once();
  }
  EXPECT_LT(put, 20'000u) << "the worker goes on reading";
  // It lives: once its answers are read it goes on.
  std::uint64_t answers = 0;
  for (int i = 0; i < 1000 && answers < put; ++i) answers += it.answers().size();
  EXPECT_EQ(answers, put);
  it.expect_life();
}

TEST_F(hostile_stream, calls_that_never_end_are_bounded_and_go_with_the_session) {
  worker_options options;
  options.max_calls = 100;
  worker w(options);
  manual_event never;
  w.function("stuck", [&](stream<body>&) -> task<int> {
    co_await never;
    co_return 1;
  });
  hostile_peer peer(plays::host, 64 << 10);
  ASSERT_TRUE(peer.send_hello());
  ASSERT_TRUE(w.open(peer.victims_end()));
  ASSERT_TRUE(peer.take_hello());
  std::size_t refused = 0;
  for (std::uint64_t call = 1; call <= 300; ++call) {
    raw_record record = record_of(a_call, call);
    record.flags = host_sends;
    peer.put(record);
    (void)w.run_once();
    while (const auto answer = peer.next_record()) refused += answer->kind == a_failure;
    peer.free_what_was_read();
  }
  EXPECT_EQ(refused, 200u);
  peer.hang_up();
  for (int i = 0; i < 10; ++i) (void)w.run_once();
}

// --- a client and a hostile worker --------------------------------------------------------------

struct worker_of_client {
  worker_of_client() : peer(plays::worker, 64 << 10) {
    EXPECT_TRUE(peer.send_hello());
    client_options options;
    options.session = small_session();
    auto made = client::attach(peer.victims_end(), options);
    EXPECT_TRUE(made);
    host.emplace(std::move(*made));
    EXPECT_TRUE(peer.take_hello());
  }
  // The number of the call that the client has just begun.
  std::uint64_t opened() {
    while (const auto record = peer.await_record()) {
      if (record->kind == a_call) return record->call;
    }
    return 0;
  }
  void turn() {
    for (int i = 0; i < 10; ++i) (void)host->run_once();
  }
  hostile_peer peer;
  std::optional<client> host;
};

class hostile_answers : public fault_test {};

TEST_F(hostile_answers, items_beyond_the_window_end_the_session_and_the_stream_once) {
  worker_of_client it;
  call_options options;
  options.window.items = 3;
  auto items = it.host->server_stream("any", no_bytes, options);
  const auto call = it.opened();
  for (int i = 0; i < 4; ++i) it.peer.put(record_of(an_item, call));
  it.turn();
  EXPECT_FALSE(it.host->connected());
  std::size_t came = 0, errors = 0;
  for (;;) {
    const auto next = items.read();
    if (!next) {
      EXPECT_EQ(next.error().code, errc::unavailable);
      EXPECT_NE(next.error().text.find("beyond the window"), std::string::npos);
      ++errors;
    } else if (*next) {
      ++came;
    } else {
      break;
    }
  }
  EXPECT_EQ(came, 3u);
  EXPECT_EQ(errors, 1u);
}

TEST_F(hostile_answers, items_of_a_call_that_is_no_stream_are_ignored) {
  worker_of_client it;
  int ended = 0;
  ASSERT_TRUE(it.host->call_async(function_id{0}, no_bytes,
                                  [&](call_result&& r) { ended += r ? 1 : 100; }));
  const auto call = it.opened();
  for (const std::uint8_t kind : {an_item, a_credit, a_progress}) {
    it.peer.put(record_of(kind, call));
    it.peer.put(record_of(kind, call + 1));
    it.peer.put(record_of(kind, 0));
  }
  it.turn();
  EXPECT_EQ(ended, 0);
  it.peer.put(record_of(a_reply, call));
  it.peer.put(record_of(a_reply, call));
  it.peer.put(record_of(an_end, call));
  it.turn();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(it.host->stats().stale_answers, 2u);
  EXPECT_TRUE(it.host->connected());
}

TEST_F(hostile_answers, a_stream_that_ends_in_many_ways_ends_once) {
  for (const std::uint8_t first : {std::uint8_t{an_end}, std::uint8_t{a_failure}}) {
    worker_of_client it;
    auto items = it.host->server_stream("any", no_bytes);
    const auto call = it.opened();
    it.peer.put(record_of(an_item, call));
    it.peer.put(record_of(first, call));
    for (const std::uint8_t kind : {an_item, an_end, a_credit}) it.peer.put(record_of(kind, call));
    it.peer.put(record_of(a_failure, call));
    it.turn();
    EXPECT_TRUE(it.host->connected());
    ASSERT_TRUE(items.read());
    const auto end = items.read();
    EXPECT_EQ(end.has_value(), first == an_end);
    const auto again = items.read();
    ASSERT_TRUE(again);
    EXPECT_FALSE(*again);
    EXPECT_EQ(it.host->stats().streams_open, 0u);
  }
}

TEST_F(hostile_answers, credits_beyond_all_measure_end_the_session) {
  worker_of_client it;
  auto talk = it.host->open("any");
  const auto call = it.opened();
  it.peer.put(credit_of(call, 1, ~0ull));
  it.turn();
  EXPECT_FALSE(it.host->connected());
  const auto why = talk.responses().read();
  ASSERT_FALSE(why);
  EXPECT_EQ(why.error().code, errc::unavailable);
  EXPECT_NE(why.error().text.find("beyond all measure"), std::string::npos) << why.error().text;
}

TEST_F(hostile_answers, an_error_item_of_any_shape_is_an_error_and_the_stream_goes_on) {
  worker_of_client it;
  auto items = it.host->server_stream("any", no_bytes);
  const auto call = it.opened();
  for (int flags = 1; flags < 256; flags += 2) {
    raw_record record = record_of(an_item, call);
    record.flags = static_cast<std::uint8_t>(flags);
    record.code = static_cast<std::uint16_t>(flags * 257);
    record.inline_size = 3;
    it.peer.put(record, "\xdd\xff\x00");
    it.turn();
    EXPECT_FALSE(items.read()) << flags;
  }
  it.peer.put(record_of(an_item, call));
  it.turn();
  const auto good = items.read();
  EXPECT_TRUE(good && *good);
}

}  // namespace
}  // namespace ferry
