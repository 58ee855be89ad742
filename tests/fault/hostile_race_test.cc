// Memory that changes while it is read: a thread of the peer writes noise into what it shares, as
// fast as it can. The victim reads everything once, checks its copy, and goes on or ends the
// session. Worth most under the address and undefined behaviour sanitizers.
#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "engine/codec/typed.h"
#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr auto long_enough = 700ms;  // per kind of noise and side

// Runs `scribble` over and over on a thread of its own, until it goes.
class scribbler {
 public:
  explicit scribbler(std::function<void(std::mt19937_64&)> scribble, std::uint64_t seed)
      : thread_([this, scribble = std::move(scribble), seed] {
          std::mt19937_64 random(seed);
          while (!stop_.load(std::memory_order_relaxed)) scribble(random);
        }) {}
  ~scribbler() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class hostile_race : public side_test {
 protected:
  hostile_race() : seed_(std::random_device{}()), random_(seed_) {
    most_at_once_ = 256 << 20;  // the calls that a victim keeps, as many as come
  }

  // Sessions with such a scribbler, one after another; each is served until it ends or for a
  // moment.
  void survive(const std::function<void(hostile_peer&, std::mt19937_64&)>& scribble) {
    SCOPED_TRACE(fmt::format("seed {}", seed_));
    int ended = 0, sessions = 0;
    for (const auto stop = clock::now() + long_enough; clock::now() < stop; ++sessions) {
      open_session open(GetParam());
      const raw_memory memory(64 << 10);
      ASSERT_TRUE(open.peer.send_segment(1, memory));
      raw_record record = open.target->expected(open.peer);
      if (random_() % 2 == 0) {
        record.body_segment = 1;
        record.body_id = 1;
        record.body_size = 4096;
      }
      open.peer.put(record);
      hostile_peer& peer = open.peer;
      const scribbler noise([&](std::mt19937_64& random) { scribble(peer, random); }, random_());
      const auto moment = clock::now() + 10ms;
      bool over = false;
      while (!over && clock::now() < moment) {
        over = open.target->turn(100us).has_value();
        read_and_drop(*open.target);
      }
      ended += over;
    }
    EXPECT_GT(sessions, 5);
    RecordProperty("sessions", sessions);
    RecordProperty("ended_by_the_victim", ended);
    RecordProperty("sum", static_cast<int>(sum_ % 256));  // or the reads could be left out
  }

  void read_and_drop(victim& target) {
    for (const body& one : target.kept) {
      for (const std::byte each : one.bytes()) sum_ += std::to_integer<unsigned>(each);
    }
    target.kept.clear();
  }

  std::uint64_t seed_;
  std::mt19937_64 random_;
  unsigned sum_ = 0;
};
FERRY_BOTH_SIDES(hostile_race);

TEST_P(hostile_race, noise_all_over_the_control_segment) {
  survive([](hostile_peer& peer, std::mt19937_64& random) {
    const std::size_t at = random() % (peer.control->bytes().size() / 8) * 8;
    peer.poke<std::uint64_t>(at, random());
  });
}

TEST_P(hostile_race, a_header_that_changes_between_good_and_bad) {
  survive([](hostile_peer& peer, std::mt19937_64& random) {
    raw_record record;
    record.kind = static_cast<std::uint8_t>(1 + random() % 7);
    record.call = random() % 3 << 16;
    record.inline_size = static_cast<std::uint32_t>(random() % 8 == 0 ? random() : random() % 900);
    record.body_segment = random() % 2 == 0 ? 1 : 0;
    record.body_id = static_cast<std::uint32_t>(random() % 3);
    record.body_size = random() % 4 == 0 ? random() : random() % 65536;
    record.body_offset = random() % 4 == 0 ? random() : random() % 65536;
    record.function = static_cast<std::uint32_t>(random() % 3);
    record.deadline_ns = random();
    peer.put_at(random() % 16 * 64, record);
  });
}

TEST_P(hostile_race, positions_that_run_about) {
  survive([](hostile_peer& peer, std::mt19937_64& random) {
    const std::uint64_t value = random() % 2 == 0 ? random() : random() % 8192;
    peer.poke<std::uint64_t>(random() % 2 == 0 ? records_read_at : returns_taken_at, value);
  });
}

TEST_P(hostile_race, returns_that_run_about) {
  survive([](hostile_peer& peer, std::mt19937_64& random) {
    const std::uint64_t cell =
        (random() % 4) << 32 | (random() % 2 == 0 ? random() % 64 : random());
    peer.poke<std::uint64_t>(returns_at + random() % 16 * 8, cell);
  });
}

// The words about sleep decide about time only: whatever they say, every record still arrives.
TEST_P(hostile_race, sleep_words_that_run_about_delay_and_nothing_else) {
  SCOPED_TRACE(fmt::format("seed {}", seed_));
  open_session open(GetParam());
  const scribbler noise(
      [&](std::mt19937_64& random) {
        switch (random() % 3) {
          case 0: open.peer.poke<std::uint64_t>(asleep_at, random()); break;
          case 1:
            open.peer.poke<std::uint32_t>(cpu_at, static_cast<std::uint32_t>(random() % 4));
            break;
          default:
            open.peer.poke<std::uint32_t>(bell_at, static_cast<std::uint32_t>(random()));
            break;
        }
      },
      random_());
  std::size_t records = 0;
  for (const auto stop = clock::now() + long_enough; clock::now() < stop; ++records) {
    open.peer.put(open.target->expected(open.peer));
    open.peer.free_what_was_read();
    const auto over = open.target->turn(5s);
    ASSERT_FALSE(over) << over->message();
    ASSERT_EQ(open.target->kept.size(), 1u);
    open.target->kept.clear();
    if (GetParam() == side::client) continue;
    // A worker may not defer without end.
    ASSERT_EQ(open.target->send_one(), errc{});
    ASSERT_TRUE(open.peer.await_record());
  }
  EXPECT_GT(records, 10u);
}

// A borrowed body may change under its reader: decoding it gives some value or an error.
TEST_P(hostile_race, a_body_that_changes_while_it_is_decoded) {
  SCOPED_TRACE(fmt::format("seed {}", seed_));
  using values = std::vector<std::tuple<std::string, int, std::vector<double>>>;
  const values honest(20, {std::string(30, 'h'), 7, {1.5, 2.5}});
  std::vector<std::byte> small(16 << 10);
  value_writer writer(small);
  encode(writer, honest);
  const std::vector<std::byte> encoded(writer.bytes().begin(), writer.bytes().end());

  open_session open(GetParam());
  const raw_memory memory(64 << 10);
  std::memcpy(memory.bytes().data(), encoded.data(), encoded.size());
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  raw_record record = open.target->expected(open.peer);
  record.body_segment = 1;
  record.body_id = 1;
  record.body_size = encoded.size();
  open.peer.put(record);
  ASSERT_FALSE(open.target->turn(1s));
  ASSERT_EQ(open.target->kept.size(), 1u);
  const body& argument = open.target->kept.front();
  EXPECT_TRUE(argument.borrowed());
  EXPECT_TRUE(decode<values>(argument.bytes()));

  int good = 0, bad = 0;
  const scribbler noise(
      [&](std::mt19937_64& random) {
        const std::size_t at = random() % encoded.size();
        memory.bytes()[at] = random() % 2 == 0 ? encoded[at] : static_cast<std::byte>(random());
      },
      random_());
  for (const auto stop = clock::now() + long_enough; clock::now() < stop;) {
    auto decoded = decode<values>(argument.bytes());
    ++(decoded ? good : bad);
  }
  EXPECT_GT(good + bad, 0);
  expect_life(*open.target);
}

}  // namespace
}  // namespace ferry
