// What a loop drives: a session's calls, a channel, a listener. Each watches descriptors of its own
// and is asked to look when one of them is ready, or, while it is busy, at every turn.
// Threads   every member is called with the wheel of the loop in hand: by one thread at a time.
// Lifetime  add()ed to a loop, and remove()d before it goes; the loop owns none of them.
// Source    engine/loop/README.md.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "engine/reactor/reactor.h"

namespace ferry {

class session;

class loop_source {
 public:
  using clock = std::chrono::steady_clock;
  virtual ~loop_source() = default;

  // Reads what has come and runs what that ends. How much it was: 0 if there was nothing to do.
  virtual std::size_t turn() = 0;
  // Something waits for turn(). Cheap: asked again and again while the loop spins.
  virtual bool has_input() noexcept = 0;
  // The descriptor watched as number `which` is ready. turn() follows.
  virtual void ready(std::uint8_t which, const reactor_event& event) = 0;
  // The loop is about to sleep: from now on news must make a descriptor readable. The loop looks at
  // has_input() once more afterwards.
  virtual void arm() = 0;
  virtual void disarm() noexcept = 0;
  // When it wants to be called by tick() though nothing comes; max(): never. A lower bound will do.
  virtual clock::time_point next_due() noexcept = 0;
  // Does what is due, and what is done in passing when there is time. How much ended by it.
  virtual std::size_t tick(clock::time_point now) = 0;
  // The shared-memory session behind it, if any: a loop of one source waits on that directly.
  virtual session* direct() noexcept { return nullptr; }

 protected:
  bool armed() const noexcept { return armed_; }

 private:
  friend class loop_core;
  std::uint32_t slot_ = 0;  // in the loop, plus one; 0: in none
  bool armed_ = false;      // asleep: only its descriptors wake it
};

}  // namespace ferry
