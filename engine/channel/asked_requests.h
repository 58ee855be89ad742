// Requests of the peer that it waits for: which have come and were neither answered nor given up.
// A request leaves once, whichever comes first and however often it is answered.
// Units     ids are the peer's: a slot of its table in the low bits, so they lie close together.
// Threads   any; a spin lock held for a few instructions.
// Memory    16 bytes for each that were ever in flight at once, at most 512 KiB. A peer with more,
//           or with ids of another form, has some of them forgotten: only the count suffers.
// Source    engine/channel/README.md, "Requests".
#pragma once
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/spin_lock.h"

namespace ferry {

class asked_requests {
 public:
  static constexpr std::uint64_t most_slots = 64 << 10;

  void begin(std::uint64_t id);
  // Answered, or given up. False: it had left before.
  bool end(std::uint64_t id) noexcept;
  void put_back(std::uint64_t id) noexcept;  // the answer found no way out

  struct counts {
    std::uint64_t total;  // that ever came
    std::uint32_t active;
  };
  counts count() const noexcept {
    const std::lock_guard guard(lock_);
    return {total_, active_};
  }

 private:
  mutable spin_lock lock_;
  std::vector<std::uint64_t> slots_;  // ids; 0: free
  std::uint64_t total_ = 0;
  std::uint32_t active_ = 0;
};

}  // namespace ferry
