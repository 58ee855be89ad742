// The receiving half of a session: reads records and packets, maps the peer's memory, waits.
// Threads   one thread at a time (whoever drives the session); sending is session_core's.
// Lifetime  shares the core with the bodies it hands out, and the loop with other sources.
// Errors    a peer that breaks the protocol ends the session: core().failure() says why.
// Source    engine/README.md, "Session" and "Waiting".
#pragma once
#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/loop/loop_core.h"
#include "engine/session/core.h"
#include "engine/session/spin_policy.h"

namespace ferry {

// A body segment of the peer. Lives as long as the session knows it or a body lies in it.
class peer_memory;

class session {
 public:
  using clock = std::chrono::steady_clock;

  session(std::shared_ptr<session_core> core, std::shared_ptr<loop_core> loop);
  ~session();
  // Blocks for the handshake. The owner lets the loop watch core().socket() for it.
  static result<std::unique_ptr<session>, call_error> open(unique_fd socket, session_role role,
                                                           const session_options& options,
                                                           std::shared_ptr<loop_core> loop);

  session_core& core() noexcept { return *core_; }
  const std::shared_ptr<session_core>& shared_core() const noexcept { return core_; }

  // Hands at most `limit` records to sink(const record_fields&, body&&), oldest first.
  template <class Sink>
  std::size_t poll(Sink&& sink, std::size_t limit) {
    std::size_t count = 0;
    record_fields fields;
    body content;
    while (count < limit && next(fields, content)) {
      ++count;
      sink(static_cast<const record_fields&>(fields), std::move(content));
    }
    return count;
  }
  bool has_record() const noexcept { return records_.ready(); }
  bool has_input() noexcept {
    return records_.ready() || peer_gone_ || (wants_room_ && room_came());
  }
  // From now on room that comes after `before` counts as input, and the peer wakes us for it.
  // Without `before`: room that is there already, too.
  void want_room(bool wanted, std::optional<session_core::progress_mark> before = {}) noexcept {
    wants_room_ = wanted;
    before_ = before;
  }
  bool room_came() noexcept {
    return before_ ? core_->room_came_since(*before_) : core_->has_room();
  }
  // While it sleeps in a reactor the peer also wakes us when it frees ring space or returns bodies.
  void wake_for_room(bool wanted) noexcept { wakes_for_room_ = wanted; }
  // Whether a spin of any length is worth while now. Tells the peer on which CPU we wait.
  bool spinning_pays() noexcept;

  // For the driver of a loop that has no other source. Waits as the options say until there is
  // input, `until` holds, the deadline passes or the session ends. With `for_room` the peer also
  // wakes us when it frees ring space or returns bodies.
  woke wait(std::optional<clock::time_point> deadline, bool for_room = false, condition until = {});

  // This session carries the messages of a channel, and nothing else.
  void carry_messages() noexcept { carries_messages_ = true; }
  // The thread that waits is ours to move to another CPU (a worker's serving thread; never a
  // host's).
  void set_movable(bool movable) noexcept { movable_ = movable; }

  // About to sleep in the loop's reactor: news make the socket readable.
  void arm();
  void disarm() noexcept;
  // When memory that has been idle should go.
  clock::time_point next_due() noexcept;

  // Reads what lies in the socket: segments, wakeups, the peer's end.
  void serve_socket();
  // The socket ended: nobody reads what we send any more, though its last records may wait here.
  bool peer_gone() const noexcept { return peer_gone_; }
  // After the end of the socket: nothing is sent any more, though records may wait to be read.
  void hear_end();

 private:
  bool next(record_fields& fields, body& content);
  bool find_body(const record_fields& fields, body& content);
  std::shared_ptr<body_owner> memory_of(std::uint32_t segment, std::span<const std::byte>& bytes);
  void add_segment(std::uint32_t id, std::uint64_t size_bytes, const unique_fd& memfd);
  void retire(std::uint32_t id);
  void spoil(const char* what);
  void owe_nothing();                       // gives ring space back and says so
  bool peer_is_elsewhere() const noexcept;  // last seen on another CPU
  bool move_away() noexcept;
  woke spin(std::optional<clock::time_point> deadline, const condition& until,
            clock::time_point began);
  woke sleep(std::optional<clock::time_point> deadline, bool for_room, const condition& until,
             clock::time_point began);

  std::shared_ptr<session_core> core_;
  std::shared_ptr<loop_core> loop_;
  record_consumer<> records_;
  sleeper<> sleeper_;
  spin_policy policy_;
  std::vector<std::shared_ptr<peer_memory>> memories_;  // the peer's segments, latest last
  std::uint32_t my_cpu_ = 0;                            // as published, plus one
  bool peer_gone_ = false;        // the socket ended; what is in the ring is still delivered
  std::uint64_t left_after_end_;  // so many records at most: it may not go on for ever
  bool said_bye_ = false;
  bool movable_ = false;
  bool armed_ = false;
  bool wants_room_ = false;
  std::optional<session_core::progress_mark> before_;  // it wanted room
  bool wakes_for_room_ = false;
  bool carries_messages_ = false;
};

}  // namespace ferry
