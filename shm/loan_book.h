// Which bodies the peer holds: the private list that says what comes back to the arena, and when.
// Layout    a fixed table of slots; an id is slot + generation, so that an id that has come back
// once
//           is known as stale (until the generation wraps: after 2^32 / capacity loans of one
//           slot).
// Units     capacity counts bodies, outstanding_bytes what was asked for them.
// Threads   any thread may call anything; one private mutex, held for some 20 ns.
// Lifetime  borrows the arena. The book must be empty (take_back_all) before it goes, or its bodies
//           stay allocated for as long as the arena lives.
// Errors    full: the peer holds `capacity` bodies.  corrupt: the peer returned what it does not
//           have; close the session, nothing was freed.
// Source    shm/README.md, "Loans".
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "shm/body_arena.h"
#include "shm/result.h"

namespace ferry {

using body_id = std::uint32_t;  // 0 = none

class loan_book {
 public:
  static constexpr std::uint32_t max_capacity = 1u << 20;  // leaves 12 bits of generation

  // 1 <= capacity <= max_capacity. Books that start at different generations know each other's ids
  // as foreign.
  loan_book(std::uint32_t capacity, body_arena& arena, std::uint32_t first_generation = 1);
  loan_book(const loan_book&) = delete;
  loan_book& operator=(const loan_book&) = delete;

  // From here on the block is the book's to free.
  result<body_id> lend(const arena_block& block);  // full
  // Undoes a lend whose body was not sent after all: the block is the caller's again.  corrupt: it
  // has been taken back meanwhile, so it is nobody's.
  result<void> withdraw(body_id id);
  // Frees the block of a body that the peer has given back.
  result<void> take_back(body_id id);  // corrupt: out of range, foreign, stale or not lent
  // After the peer's death: frees what it held and says how many bodies that was.
  std::size_t take_back_all() noexcept;

  // What the peer holds now, and since when (coarse_now(): to within a scheduler tick).
  struct holding {
    std::uint64_t size_bytes;
    std::chrono::steady_clock::time_point since;
  };
  std::vector<holding> holdings() const;

  std::size_t outstanding() const;
  std::uint64_t outstanding_bytes() const;

 private:
  struct loan {
    arena_block block;
    std::uint32_t generation = 0;  // of the id that is out, or of the next one
    std::uint32_t next_free = 0;
    bool lent = false;
    std::chrono::steady_clock::time_point since;
  };
  static constexpr std::uint32_t none = ~0u;

  // Takes the body out of the book; its block is the caller's.  corrupt: as take_back
  result<arena_block> take_out(body_id id);
  // Both with mutex_ held.
  arena_block close(std::uint32_t slot) noexcept;
  std::uint32_t generation_after(std::uint32_t generation) const noexcept;

  body_arena& arena_;
  const std::uint32_t capacity_;
  const std::uint32_t first_generation_;
  const unsigned slot_bits_;
  mutable std::mutex mutex_;         // guards everything below
  std::vector<loan> loans_;          // grows to capacity_ with what is lent at once
  std::uint32_t first_free_ = none;  // last returned first
  std::size_t outstanding_ = 0;
  std::uint64_t outstanding_bytes_ = 0;
};

}  // namespace ferry
