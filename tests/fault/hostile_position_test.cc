// The positions that a peer publishes say how far it has read. The victim believes only what can
// be, and looks when its ring seems full.
#include <fmt/format.h>

#include <random>

#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t ring_bytes = 4096;  // of the victim: 64 records of one line
constexpr std::uint64_t cells = 16;         // of its returns ring

class hostile_position : public side_test {
 protected:
  // A worker can send what it was asked for: have it asked `count` times.
  void allow(open_session& open, int count) {
    if (GetParam() == side::client) return;
    for (int asked = 0; asked < count; ++asked) {
      open.peer.put(open.target->expected(open.peer));
      if (asked % 16 == 15 || asked == count - 1) {
        ASSERT_FALSE(open.target->turn(1s));
      }
    }
  }
  // Sends `count` records of one line each; how many were sent.
  int send(open_session& open, int count) {
    for (int sent = 0; sent < count; ++sent) {
      if (open.target->send_one() != errc{}) return sent;
    }
    return count;
  }
  // The peer lends a body; the victim reads and returns it.
  void lend_and_return(open_session& open, std::uint32_t id) {
    raw_record record = open.target->expected(open.peer);
    record.body_segment = 1;
    record.body_id = id;
    record.body_size = 100;
    open.peer.put(record);
    open.peer.free_what_was_read();
    (void)open.target->turn(1s);
    open.target->kept.clear();
  }
};
FERRY_BOTH_SIDES(hostile_position);

TEST_P(hostile_position, one_that_was_never_written_to_ends_it) {
  constexpr std::uint64_t lies[] = {ring_bytes + 1, ring_bytes + 64, 2 * ring_bytes, 1ull << 32,
                                    1ull << 63,     ~0ull - 63,      ~0ull};
  for (const std::uint64_t told : lies) {
    SCOPED_TRACE(told);
    open_session open(GetParam());
    allow(open, 70);
    EXPECT_EQ(send(open, 64), 64);
    open.peer.poke<std::uint64_t>(records_read_at, told);
    EXPECT_EQ(send(open, 1), 0);
    expect_end(*open.target, "ring position");
    EXPECT_TRUE(open.peer.sees_the_end());
  }
}

TEST_P(hostile_position, one_that_goes_back_ends_it) {
  for (const std::uint64_t told : {0ull, 1984ull, 2047ull, ~0ull}) {
    SCOPED_TRACE(told);
    open_session open(GetParam());
    allow(open, 100);
    open.peer.poke<std::uint64_t>(records_read_at, 2048);
    EXPECT_EQ(send(open, 64 + 32), 64 + 32);
    open.peer.poke<std::uint64_t>(records_read_at, told);
    EXPECT_EQ(send(open, 1), 0);
    expect_end(*open.target, "ring position");
  }
}

TEST_P(hostile_position, one_that_frees_too_much_or_lies_between_records_harms_only_the_peer) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  open_session open(GetParam());
  std::uint64_t written = 0, told = 0;
  for (int times = 0; times < 50; ++times) {
    allow(open, 8);
    told += random() % (written - told + 1);
    if (written - told > ring_bytes / 2) told = written;
    open.peer.poke<std::uint64_t>(records_read_at, told);
    ASSERT_EQ(send(open, 8), 8);
    written += 8 * 64;
  }
  expect_life(*open.target);
}

TEST_P(hostile_position, of_returns_one_that_was_never_written_to_ends_it) {
  constexpr std::uint64_t lies[] = {cells + 1, 1ull << 32, 1ull << 63, ~0ull};
  for (const std::uint64_t told : lies) {
    SCOPED_TRACE(told);
    open_session open(GetParam());
    const raw_memory memory(4096);
    ASSERT_TRUE(open.peer.send_segment(1, memory));
    for (std::uint32_t id = 1; id <= cells; ++id) lend_and_return(open, id);
    open.peer.poke<std::uint64_t>(returns_taken_at, told);
    lend_and_return(open, 77);
    expect_end(*open.target, "returning a body");
  }
}

TEST_P(hostile_position, of_returns_one_that_goes_back_ends_it) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  open.peer.poke<std::uint64_t>(returns_taken_at, 8);
  for (std::uint32_t id = 1; id <= cells + 8; ++id) lend_and_return(open, id);
  open.peer.poke<std::uint64_t>(returns_taken_at, 7);
  lend_and_return(open, 77);
  expect_end(*open.target, "returning a body");
}

TEST_P(hostile_position, more_bodies_than_the_returns_ring_has_cells_end_it) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  for (std::uint32_t id = 1; id <= cells; ++id) lend_and_return(open, id);
  expect_life(*open.target);
  for (std::uint32_t id = 1; id <= cells; ++id) EXPECT_EQ(open.peer.next_returned(), id);
  lend_and_return(open, 77);
  expect_end(*open.target, "returning a body");
}

// The victim reads returns in batches and says so late: what an honest peer may hold must fit all
// the same. (A worker would wait for room where a client says that there is none.)
TEST_F(fault_test, a_peer_that_holds_all_it_may_can_return_it_whatever_came_before) {
  open_session open(side::client);
  std::uint64_t returned = 0;
  for (int before = 0; before < 8; ++before) {
    SCOPED_TRACE(before);
    std::vector<std::uint32_t> held;
    for (std::uint64_t count = 0; count <= cells; ++count) {
      const auto lent = open.target->lend(open.peer, 1000);
      open.peer.free_what_was_read();
      if (!lent || lent->body_id == 0) break;
      held.push_back(lent->body_id);
    }
    ASSERT_GE(held.size(), cells / 2);
    // Positions as an honest peer would check them: it may not write over what was not taken.
    for (const std::uint32_t id : held) {
      const std::uint64_t taken = open.peer.victims_word(returns_taken_at);
      ASSERT_LT(returned - taken, cells) << "no room to return what was lent";
      open.peer.give_back(id);
      ++returned;
    }
    ASSERT_FALSE(open.target->turn(0ns));
    // One more, returned and seen: the next round starts in the middle of a batch.
    const auto one = open.target->lend(open.peer, 1000);
    ASSERT_TRUE(one && one->body_id != 0);
    open.peer.give_back(one->body_id);
    ++returned;
    open.peer.free_what_was_read();
    ASSERT_FALSE(open.target->turn(0ns));
  }
}

}  // namespace
}  // namespace ferry
