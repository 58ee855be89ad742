// Decodes    a returns ring that a hostile peer writes, by returns_consumer, and what comes out of
//            it by loan_book.
// Input      one byte each: the sizes of ring and book; four: the book's first generation; eight:
//            where the positions start. Then operations: lend a body; return one that was lent,
//            once or again, or spoilt by one bit; write any cell; read; give room back.
// Property   a cell counts only in its own lap; exactly the ids that are out can be taken back,
//            once each, and nothing is freed for any other; the published position is never ahead
//            of what was read and always less than an eighth behind.
#include <algorithm>
#include <vector>

#include "ring/returns_ring.h"
#include "shm/body_arena.h"
#include "shm/loan_book.h"
#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

constexpr std::uint64_t body_bytes = 100;

// Made once: a segment costs more than a run. Every run gives all of it back.
body_arena& shared_arena() {
  static body_arena arena(
      arena_options{.quota_bytes = 1 << 20, .first_segment_bytes = 64 << 10},
      [](std::uint32_t, const own_segment&) { return result<void>(); },
      [](std::uint32_t) { return result<void>(); });
  return arena;
}

class stage {
 public:
  stage(std::size_t cells, std::uint32_t bodies, std::uint32_t generation, std::uint64_t start)
      : cells_(cells),
        taken_{start},
        consumer_(cells_, taken_, start),
        book_(bodies, shared_arena(), generation),
        capacity_(bodies),
        position_(start),
        next_cell_(start) {}

  void lend() {
    const auto block = shared_arena().allocate(body_bytes);
    FERRY_CHECK(block);
    const auto id = book_.lend(*block);
    FERRY_CHECK(static_cast<bool>(id) == (out_.size() < capacity_));
    if (!id) {
      FERRY_CHECK(id.error().code == errc::full);
      return shared_arena().free(*block);
    }
    FERRY_CHECK(*id != 0);
    FERRY_CHECK(std::ranges::find(out_, *id) == out_.end());
    out_.push_back(*id);
    known_.push_back(*id);
  }

  // An id that was ever lent; any number if none was.
  body_id known(std::size_t index) const {
    return known_.empty() ? static_cast<body_id>(index) : known_[index % known_.size()];
  }
  // As an honest peer would write it, or one lap, one id or one bit beside.
  void give_back(body_id id, std::uint64_t spoil) {
    const std::uint64_t tag = lap_tag(next_cell_, cells_.size());
    put_cell(next_cell_, (tag << 32 | id) ^ spoil);
    ++next_cell_;
  }
  void put_cell(std::uint64_t position, std::uint64_t cell) {
    cells_[position & (cells_.size() - 1)].store(cell, std::memory_order_release);
  }
  std::uint64_t position() const { return position_; }

  void pop() {
    const std::uint64_t cell = cells_[position_ & (cells_.size() - 1)].load();
    const auto id = consumer_.try_pop();
    FERRY_CHECK(static_cast<bool>(id) == (cell >> 32 == lap_tag(position_, cells_.size())));
    if (id) {
      ++position_;
      FERRY_CHECK(*id == static_cast<body_id>(cell));
      take_back(*id);
    } else {
      FERRY_CHECK(id.error().code == errc::empty);
      next_cell_ = position_;
    }
    FERRY_CHECK(position_ - taken_.position.load() < cells_.size() / 8);
  }

  void give_room() {
    consumer_.give_back();
    FERRY_CHECK(taken_.position.load() == position_);
  }

  void take_back(body_id id) {
    const auto at = std::ranges::find(out_, id);
    const auto taken = book_.take_back(id);
    FERRY_CHECK(static_cast<bool>(taken) == (at != out_.end()));
    if (taken) {
      out_.erase(at);
    } else {
      FERRY_CHECK(taken.error().code == errc::corrupt);
    }
    FERRY_CHECK(book_.outstanding() == out_.size());
    FERRY_CHECK(book_.outstanding_bytes() == out_.size() * body_bytes);
    FERRY_CHECK(shared_arena().stats().allocated_blocks == out_.size());
  }

  void end() {
    FERRY_CHECK(book_.take_back_all() == out_.size());
    FERRY_CHECK(book_.outstanding() == 0);
    FERRY_CHECK(shared_arena().stats().allocated_blocks == 0);
    for (const body_id id : known_) FERRY_CHECK(!book_.take_back(id));
  }

 private:
  std::vector<return_cell<std_atomics>> cells_;
  cursor<std_atomics> taken_;
  returns_consumer<> consumer_;
  loan_book book_;
  std::size_t capacity_;
  std::vector<body_id> out_, known_;
  std::uint64_t position_;   // of the consumer
  std::uint64_t next_cell_;  // that an honest peer would write
};

void run(fuzz_input input) {
  const std::size_t cells = std::size_t{16} << input.below(3);
  const std::uint32_t bodies = 1 + input.below(14);
  const auto generation = input.take<std::uint32_t>();
  stage ring(cells, bodies, generation, input.take<std::uint64_t>());
  for (int steps = 0; steps < 512 && !input.empty(); ++steps) {
    switch (input.below(8)) {
      case 0: ring.lend(); break;
      case 1: ring.give_back(ring.known(input.take<std::uint8_t>()), 0); break;
      case 2: {
        const body_id id = ring.known(input.take<std::uint8_t>());
        ring.give_back(id, std::uint64_t{1} << input.below(64));
        break;
      }
      case 3: ring.give_back(input.take<std::uint32_t>(), 0); break;
      case 4: {
        const std::uint64_t position = ring.position() + input.take<std::uint8_t>();
        ring.put_cell(position, input.take<std::uint64_t>());
        break;
      }
      case 5: ring.give_room(); break;
      case 6: ring.take_back(input.take<std::uint32_t>()); break;
      default: ring.pop(); break;
    }
  }
  ring.pop();
  ring.end();
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(ferry::fuzz_input(data, size_bytes));
  return 0;
}
