// One stream of a call, or the two of a bidirectional one, as either side of the session sees it.
// Threads   as inbox.h and outbox.h.
// Lifetime  shared by the session, which delivers into it until the call has ended, and whoever
//           reads or writes; it keeps what it needs of the session alive.
// Source    engine/stream/README.md.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>

#include "engine/loop/loop_core.h"
#include "engine/stream/inbox.h"
#include "engine/stream/outbox.h"

namespace ferry {

// The session behind a stream.
class stream_host {
 public:
  virtual ~stream_host() = default;
  // A record without a body. Never lost: it leaves now, or when there is room.
  virtual void send_small(const record_fields& fields) = 0;
  // One item, from `filled` if that is set, else copied from `bytes`. full: no room, and it was not
  // told to wait or this thread cannot; `filled` is then still the caller's.
  virtual result<void> send_item(const record_fields& fields, std::span<const std::byte> bytes,
                                 loan* filled, bool wait) = 0;
  // Sleeps until `me` has arrived (true) or `limit` has passed. invalid_request on a thread that
  // must not wait.
  virtual result<bool, call_error> block(follower& me, std::chrono::nanoseconds limit) = 0;
  // The side that reads or writes has lost interest: tells the peer, ends the call here.
  virtual void give_up(std::uint64_t call, errc code) = 0;
  // Runs `who` on the driving thread when the ring may have room.
  virtual void when_room(stream_waiter who) = 0;
  virtual void forget_room(void* context) = 0;
  virtual result<loan> borrow(std::uint64_t size_bytes) = 0;
  virtual loop_core& loop() = 0;
};

class stream_core {
 public:
  static constexpr std::chrono::nanoseconds no_limit = std::chrono::nanoseconds::max();

  // `kept`: what keeps `session` alive, unless that owns this stream.
  stream_core(stream_host& session, std::shared_ptr<void> kept, std::uint64_t call_id,
              stream_window window, stream_credit they_may_send, stream_credit we_may_send)
      : host(&session),
        call(call_id),
        in(window, they_may_send),
        out(we_may_send),
        kept_(std::move(kept)) {}

  stream_host* const host;
  std::uint64_t call;  // fixed before anybody else sees the stream
  stream_inbox in;
  stream_outbox out;

  // --- the one that reads ---------------------------------------------------------------------
  // The next item; nullopt: the end. An error that ends the stream comes once.
  using next_result = result<std::optional<body>, call_error>;
  std::optional<next_result> try_next();  // nullopt: nothing there yet
  next_result read(std::chrono::nanoseconds idle);
  // Nothing came for `idle` while somebody waited: when to look again, or nullopt if that was it,
  // and then the stream has ended.
  std::optional<stream_inbox::clock::time_point> idle_until(
      std::chrono::nanoseconds idle, stream_inbox::clock::time_point began) const;
  call_error end_as_idle(std::chrono::nanoseconds idle);

  // --- the one that writes ----------------------------------------------------------------------
  // What is written: an item, or with a code an error in place of one, and `bytes` is its text.
  struct outgoing {
    std::span<const std::byte> bytes;
    loan* filled = nullptr;  // instead of `bytes`
    errc error{};
  };
  // False: no credit or no room; nothing was sent. An error: nothing will ever be.
  result<bool, call_error> try_write(const outgoing& what, bool wait_for_room);
  // Waits for credit, each time at most `idle` without a sign of the reader's progress.
  result<void, call_error> write(const outgoing& what, std::chrono::nanoseconds idle);
  // When a writer that has waited since `began` is to look again; nullopt: that was too long.
  std::optional<stream_inbox::clock::time_point> write_until(
      std::chrono::nanoseconds idle, stream_inbox::clock::time_point began) const;
  void end_writing();  // half close, once
  bool ended_writing() const noexcept { return end_sent_; }

  // Ends the call from this side, once. At a function's side, it only reads no more, and the host's
  // writer is told. `told`: whoever reads on hears why, once. May run code of whoever waits to
  // write; the caller holds this stream.
  void abandon(errc code, bool told = false);
  bool of_function = false;

  std::optional<std::stop_callback<unique_function<void()>>> on_stop;

 private:
  static std::optional<stream_inbox::clock::time_point> idle_end(
      std::chrono::nanoseconds idle, stream_inbox::clock::time_point from);
  void pay_credit();
  bool end_sent_ = false;
  bool abandoned_ = false;
  std::shared_ptr<void> kept_;
};

}  // namespace ferry
