// What lies beneath a channel: takes frames, gives frames. One class for each way to carry them.
// Threads   "any thread" where it says so; all else with the wheel of the loop in hand.
// Lifetime  owned by its channel; joined to its loop before and left before it goes.
// Errors    of send: full, frame_too_large, no_memory and limit (shared memory); closed when the
//           link is over: lost() then says why.
// Source    engine/channel/README.md, "Links".
#pragma once
#include <chrono>
#include <optional>

#include "engine/channel/channel.h"
#include "engine/channel/wire.h"
#include "engine/loop/loop_core.h"

namespace ferry {

// Takes what a link has read.
class link_sink {
 public:
  virtual void take(const frame_fields& fields, message&& what) = 0;
  // Asked before each frame. False: there is no room for a message.
  virtual bool wants_more() noexcept = 0;
  // Room came free in a link that had said full. Any thread.
  virtual void has_room() noexcept = 0;
  // Lets the link read() and write() soon. Any thread.
  virtual void wake() noexcept = 0;

 protected:
  ~link_sink() = default;
};

class channel_link {
 public:
  using clock = std::chrono::steady_clock;
  virtual ~channel_link() = default;

  // --- any thread -----------------------------------------------------------------------------
  virtual std::string_view type() const noexcept = 0;
  // Queues a frame; what it carries is moved from unless it fails. `urgent`: what the channel
  // itself has to say, for which some room is set aside.
  virtual result<void> send(const frame_fields& fields, message& what, bool urgent) = 0;
  // Writes what is queued as far as there is room, with a system call of its own.
  virtual void write_now() noexcept {}
  virtual result<payload, channel_error> borrow(std::uint64_t size_bytes) {
    return payload::allocate(size_bytes);
  }
  virtual std::uint64_t queued_bytes() const noexcept { return 0; }
  virtual std::uint64_t queued_peak() const noexcept { return 0; }
  virtual channel_peer peer() const { return {}; }

  // --- with the wheel ---------------------------------------------------------------------------
  virtual result<void> join(loop_core& loop, loop_source& source, link_sink& sink) = 0;
  // Longer frames are refused from now on, before anything is allocated for them.
  virtual void limit_frames(std::uint64_t max_bytes) noexcept = 0;
  // Ends it at once; what is queued is dropped, descriptors are closed. Idempotent.
  virtual void leave() noexcept = 0;
  // Between join() and the moment when frames can pass.
  virtual bool connecting() const noexcept { return false; }
  // While it connects: the addresses tried so far and what came of them, for whoever gives up.
  virtual std::string tried() const { return {}; }
  virtual void ready(std::uint8_t which, const reactor_event& event) = 0;
  // Hands at most `limit` frames to the sink. How many.
  virtual std::size_t read(std::size_t limit) = 0;
  virtual void write() noexcept {}  // what is queued leaves by the end of the loop's turn
  // Owed before the wheel is left, if anything was sent since write() or write_now(): only then is
  // what was sent with the wheel queued before what other threads send.
  virtual void settle() noexcept {}
  virtual bool has_input() noexcept = 0;
  virtual void arm() {}
  virtual void disarm() noexcept {}
  virtual clock::time_point next_due() noexcept { return clock::time_point::max(); }
  virtual void tick() {}
  virtual void want_room(bool) noexcept {}
  virtual bool flushed() noexcept { return true; }
  // Grows when the peer says anything.
  virtual std::uint64_t activity() const noexcept = 0;
  // Why it is over; all that came before has been handed out.
  virtual std::optional<channel_error> lost() = 0;
  // The peer has closed its end, though there may be more of it to read. At most a system call.
  virtual bool peer_gone() const noexcept = 0;
  virtual session* direct() noexcept { return nullptr; }
};

}  // namespace ferry
