// After a good hello: records, body references, returned ids and positions that no honest peer
// could write. The victim loses that session with the reason named, and nothing else.
#include <fmt/format.h>

#include <thread>

#include "tests/fault/victim.h"
#include "tests/support/attached.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t segment_bytes = 64 << 10;

class hostile_session : public side_test {
 protected:
  // A record that the victim expects, but for one thing.
  template <class Spoil>
  void expect_end_by_record(const std::string& reason, Spoil&& spoil) {
    SCOPED_TRACE(reason);
    open_session open(GetParam());
    raw_record record = open.target->expected(open.peer);
    spoil(record);
    open.peer.put(record);
    expect_end(*open.target, reason);
    EXPECT_TRUE(open.peer.sees_the_end());
    EXPECT_TRUE(open.target->kept.empty());
  }

  // The same with a segment of the peer mapped, and a reference into it.
  template <class Spoil>
  void expect_end_by_reference(const std::string& reason, Spoil&& spoil) {
    SCOPED_TRACE(reason);
    open_session open(GetParam());
    const raw_memory memory(segment_bytes);
    ASSERT_TRUE(open.peer.send_segment(1, memory));
    raw_record record = open.target->expected(open.peer);
    record.body_segment = 1;
    record.body_id = 1;
    record.body_size = 4096;
    spoil(record);
    open.peer.put(record);
    expect_end(*open.target, reason);
    EXPECT_TRUE(open.target->kept.empty());
  }

  // The victim has lent one body when the peer returns what it should not.
  template <class Return>
  void expect_end_by_return(Return&& give_back) {
    open_session open(GetParam());
    const auto lent = open.target->lend(open.peer, 5000);
    ASSERT_TRUE(lent);
    ASSERT_NE(lent->body_id, 0u);
    give_back(open.peer, lent->body_id);
    // A worker looks at its returns when it lends or rests: one call more makes it look.
    (void)open.target->lend(open.peer, 5000);
    expect_end(*open.target, "the peer returned a body");
  }
};
FERRY_BOTH_SIDES(hostile_session);

// --- records
// --------------------------------------------------------------------------------------

TEST_P(hostile_session, a_record_of_an_unknown_kind_ends_it) {
  for (const int kind : {0, 15, 31, 127, 255}) {
    expect_end_by_record(
        "unknown kind", [&](raw_record& record) { record.kind = static_cast<std::uint8_t>(kind); });
  }
}

TEST_P(hostile_session, an_inline_body_that_cannot_be_ends_it) {
  for (const std::uint32_t size : {961u, 4032u, 4096u, 1u << 20, 1u << 31, ~0u - 63, ~0u}) {
    expect_end_by_record("inline body too large",
                         [&](raw_record& record) { record.inline_size = size; });
  }
}

TEST_P(hostile_session, a_record_that_reaches_past_the_ring_ends_it) {
  open_session open(GetParam());
  for (int times = 0; times < 63; ++times) open.peer.put(open.target->expected(open.peer));
  while (open.target->kept.size() < 63) ASSERT_FALSE(open.target->turn(1s));
  raw_record last = open.target->expected(open.peer);
  last.inline_size = 65;  // in the last line of the ring
  open.peer.put(last);
  expect_end(*open.target, "past the end of the ring");
}

TEST_P(hostile_session, padding_that_does_not_reach_the_end_ends_it) {
  for (const std::uint32_t size : {0u, 64u, 4031u, 4032u, 4033u, 8192u, ~0u, ~0u - 63}) {
    expect_end_by_record("padding", [&](raw_record& record) {
      record.kind = a_pad;
      record.inline_size = size;
    });
  }
}

TEST_P(hostile_session, a_record_with_the_wrong_ready_word_is_never_seen) {
  open_session open(GetParam());
  const raw_record record = open.target->expected(open.peer);
  open.peer.put_at(4096, record);  // of the next lap, or of another session, at the first place
  EXPECT_FALSE(open.target->turn(10ms));
  open.peer.hello.epoch ^= 2;
  open.peer.put_at(0, record);
  EXPECT_FALSE(open.target->turn(10ms));
  EXPECT_TRUE(open.target->kept.empty());
  open.peer.hello.epoch ^= 2;
  open.peer.put(record);
  EXPECT_FALSE(open.target->turn(1s));
  EXPECT_EQ(open.target->kept.size(), 1u);
}

TEST_P(hostile_session, unused_fields_are_ignored) {
  open_session open(GetParam());
  raw_record record = open.target->expected(open.peer);
  record.flags = 0xf8;  // the bits that mean nothing yet
  record.spare = ~0u;
  record.deadline_ns = ~0ull;
  record.code = 0xffff;
  record.body_id = 77;
  record.body_size = record.body_offset = ~0ull;  // no segment is named: there is no reference
  open.peer.put(record);
  EXPECT_FALSE(open.target->turn(1s));
  EXPECT_EQ(open.target->kept.size(), 1u);
  expect_life(*open.target);
}

TEST_P(hostile_session, a_record_for_the_other_side_ends_it) {
  for (const int kind :
       std::initializer_list<int>{a_reply, a_failure, a_call, a_resolve, 7, 8, 12, 13, 14}) {
    const bool from_worker =
        kind == a_reply || kind == a_failure || kind == 12 /* progress */ || kind == 14 /* pong */;
    if (from_worker == (GetParam() == side::client)) continue;
    expect_end_by_record(
        from_worker ? "what only a worker sends" : "what only a host sends",
        [&](raw_record& record) { record.kind = static_cast<std::uint8_t>(kind); });
  }
}

// --- body references
// ------------------------------------------------------------------------------

TEST_P(hostile_session, a_good_reference_is_read_where_it_lies) {
  open_session open(GetParam());
  const raw_memory memory(segment_bytes);
  std::memset(memory.bytes().data(), 'x', segment_bytes);
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  for (const std::uint64_t offset : {0ull, 1ull, 4095ull, 61440ull, 65536ull}) {
    raw_record record = open.target->expected(open.peer);
    record.body_segment = 1;
    record.body_id = static_cast<std::uint32_t>(offset) + 1;
    record.body_offset = offset;
    record.body_size = std::min<std::uint64_t>(4096, segment_bytes - offset);
    open.peer.put(record);
    ASSERT_FALSE(open.target->turn(1s));
    ASSERT_EQ(open.target->kept.size(), 1u);
    EXPECT_EQ(open.target->kept[0].text(), std::string(record.body_size, 'x'));
    open.target->kept.clear();
    EXPECT_EQ(open.peer.next_returned(), record.body_id);
  }
}

TEST_P(hostile_session, a_reference_out_of_its_segment_ends_it) {
  struct range {
    std::uint64_t offset, size;
  };
  constexpr std::uint64_t top = ~0ull;
  for (const range bad :
       {range{0, segment_bytes + 1}, range{segment_bytes, 1}, range{segment_bytes + 1, 0},
        range{1, segment_bytes}, range{segment_bytes - 1, 2}, range{top, 0}, range{top, 1},
        range{top, 2}, range{top - 4095, 4096}, range{top - 4096, 8192}, range{0, top},
        range{1, top}, range{4096, top - 4095}, range{1ull << 63, 1ull << 63}}) {
    SCOPED_TRACE(fmt::format("{} + {}", bad.offset, bad.size));
    expect_end_by_reference("past its segment", [&](raw_record& record) {
      record.body_offset = bad.offset;
      record.body_size = bad.size;
    });
  }
}

TEST_P(hostile_session, a_reference_into_an_unknown_segment_ends_it) {
  for (const std::uint32_t segment : {2u, 255u, 1u << 31, ~0u}) {
    expect_end_by_reference("never sent",
                            [&](raw_record& record) { record.body_segment = segment; });
  }
}

TEST_P(hostile_session, a_reference_that_contradicts_itself_ends_it) {
  expect_end_by_reference("contradicts", [](raw_record& record) { record.body_id = 0; });
  expect_end_by_reference("contradicts", [](raw_record& record) { record.inline_size = 1; });
}

// --- returned ids
// ---------------------------------------------------------------------------------

TEST_P(hostile_session, what_was_lent_comes_back_once) {
  open_session open(GetParam());
  for (int times = 0; times < 100; ++times) {  // round the returns ring a few times
    const auto lent = open.target->lend(open.peer, 5000);
    ASSERT_TRUE(lent);
    open.peer.give_back(lent->body_id);
    open.peer.free_what_was_read();
    open.target->failures.clear();
    raw_record answer;
    answer.kind = a_reply;
    answer.call = lent->call;
    if (GetParam() == side::client) open.peer.put(answer);
    ASSERT_FALSE(open.target->turn(0ns));
  }
  EXPECT_EQ(open.target->bodies_lent(), 0u);
}

TEST_P(hostile_session, an_id_that_was_never_lent_ends_it) {
  expect_end_by_return([](hostile_peer& peer, std::uint32_t) { peer.give_back(0); });
  expect_end_by_return([](hostile_peer& peer, std::uint32_t) { peer.give_back(~0u); });
  expect_end_by_return([](hostile_peer& peer, std::uint32_t id) { peer.give_back(id + 1); });
}

TEST_P(hostile_session, a_foreign_or_stale_id_ends_it) {
  // The slot is right, the generation above it is not.
  expect_end_by_return([](hostile_peer& peer, std::uint32_t id) { peer.give_back(id + 16); });
  expect_end_by_return([](hostile_peer& peer, std::uint32_t id) { peer.give_back(id - 16); });
  expect_end_by_return([](hostile_peer& peer, std::uint32_t id) { peer.give_back(id ^ 1u << 31); });
}

TEST_P(hostile_session, an_id_returned_twice_ends_it) {
  expect_end_by_return([](hostile_peer& peer, std::uint32_t id) {
    peer.give_back(id);
    peer.give_back(id);
  });
}

// --- what follows the end
// ---------------------------------------------------------------------------------

// A host whose first record is `wait` or nothing, then one that ends the session, then calls. An
// honest host keeps the worker at work.
void expect_no_call_after_the_end(bool inside_a_function) {
  int waited = 0, ran = 0;
  worker server(small_session());
  server.raw("wait", [&](context& call, body) {
    while (!call.stop_requested()) std::this_thread::sleep_for(1ms);
    ++waited;
  });
  server.raw("run", [&](context& call, body) {
    ++ran;
    (void)call.reply(no_bytes);
  });
  hostile_peer peer(plays::host);
  ASSERT_TRUE(peer.send_hello() && server.open(peer.victims_end()) && peer.take_hello());
  client honest = attach_to(server);
  raw_record record;
  record.kind = a_call;
  record.call = 1;
  if (inside_a_function) peer.put(record);
  record.kind = 31;
  peer.put(record);
  record.kind = a_call;
  record.function = 1;
  for (record.call = 2; record.call < 10; ++record.call) peer.put(record);
  ASSERT_TRUE(peer.send(raw_header{.kind = 4}));  // wakes it
  for (int times = 0; times < 20; ++times) ASSERT_TRUE(server.run_once(1ms));
  EXPECT_TRUE(peer.sees_the_end());
  EXPECT_EQ(waited, inside_a_function ? 1 : 0);
  EXPECT_EQ(ran, 0);
  {
    const serving_thread serving(server);
    EXPECT_TRUE(honest.call(function_id{1}, no_bytes));
  }
  EXPECT_EQ(ran, 1);
}

TEST_F(fault_test, a_worker_runs_no_call_that_lies_behind_the_end_of_its_session) {
  expect_no_call_after_the_end(false);
}

TEST_F(fault_test, a_worker_runs_no_call_behind_an_end_that_it_heard_of_inside_a_function) {
  expect_no_call_after_the_end(true);
}

}  // namespace
}  // namespace ferry
