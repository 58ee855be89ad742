// A channel: messages between this process and one instance, over whatever transport was chosen.
//
//   auto answer = chan->request(execution_request("resize", payload::copy_of(image)), 2s);
//   if (!answer) return fail(answer.error().message());
//
//   while (auto asked = chan->receive()) chan->reply(*asked, execution_success(...));
//
// Forms     each operation that may wait has three: blocking, with a callback (_async), and an
//           awaitable (co_). A blocking one drives the channel's loop, or waits for whoever does.
//           A coroutine that is destroyed while it awaits calls its operation off.
// Threads   every operation: any thread. Callbacks, handlers and coroutines run on the thread that
//           drives; there nothing blocks: send() and request() give full and invalid_request.
// Order     messages of one thread arrive in the order in which they were sent.
// Lifetime  shared; the last reference closes it. Messages may outlive it.
// Errors    closed: close() was called, here or there.  unavailable: the link was lost.  timeout:
//           with timeout_ms.  full: no room and told not to wait.  corrupt: the peer broke the
//           protocol.  frame_too_large: more than max_message_bytes.  authentication_failed,
//           connection_failed: of a handshake.  invalid_request: blocking inside a callback.
//           not_supported: in a forked child, whose parent's the channel is.
//           A started request, receive or send ends exactly once, if it is not called off.
// Source    engine/channel/README.md.
#pragma once
#include <chrono>
#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/channel/channel_error.h"
#include "engine/channel/instance_id.h"
#include "engine/channel/message.h"
#include "engine/channel/stats.h"
#include "engine/loop/loop.h"
#include "engine/unique_function.h"

namespace ferry {

using message_result = result<message, channel_error>;
using send_result = result<void, channel_error>;
using on_answer = unique_function<void(message_result&&)>;
using on_sent = unique_function<void(send_result&&)>;

struct send_options {
  bool wait = true;  // false: full at once when there is no room
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();  // of waiting for room
};

// Who is at the other end, as far as the transport tells.
struct channel_peer {
  std::optional<std::int64_t> pid;
  std::optional<std::uint32_t> uid;
  std::string address;  // "10.0.0.7:4711"; empty on one machine
};

class channel {
 public:
  static constexpr std::chrono::nanoseconds no_limit = std::chrono::nanoseconds::max();
  static constexpr std::chrono::nanoseconds as_configured{-1};  // channel_options::request_timeout

  virtual ~channel() = default;
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  // --- sending --------------------------------------------------------------------------------
  // Returns when the message is in the bounded queue.
  virtual send_result send(message what, send_options how = {}) = 0;
  // Waits for room in the queue. An error: not started, and `done` does not run; full: what waits
  // already is as much as waiting_bytes or max_requests allow.
  virtual send_result send_async(message what, on_sent done) = 0;
  class sending;
  sending co_send(message what);

  // Memory to fill and send as message::data: shared memory where the transport has it.
  virtual result<payload, channel_error> borrow(std::uint64_t size_bytes) = 0;

  // --- receiving ------------------------------------------------------------------------------
  // The next message that is no answer to a request of ours. Any number may wait.
  virtual message_result receive(std::chrono::nanoseconds timeout = no_limit) = 0;
  // The same without waiting; nullopt: nothing there.
  virtual std::optional<message_result> try_receive() = 0;
  // An error: not started. The callback gets one message, or why there will be none.
  virtual send_result receive_async(on_answer next) = 0;
  class receiving;
  receiving co_receive();
  // Instead of receive(): runs for every message from now on, on the thread that drives.
  virtual void on_message(unique_function<void(message&&)> handler) = 0;

  // --- requests -------------------------------------------------------------------------------
  // Sends with an id of its own and waits for the answer to it; `timeout` covers both.
  virtual message_result request(message what,
                                 std::chrono::nanoseconds timeout = as_configured) = 0;
  // Waits for room within its deadline. full: as send_async(), or max_requests are in flight.
  virtual send_result request_async(message what, std::chrono::nanoseconds timeout,
                                    on_answer done) = 0;
  class asking;
  asking co_request(message what, std::chrono::nanoseconds timeout = as_configured);
  // Answers what receive() or the handler gave. invalid_request: it asked for no answer.
  virtual send_result reply(const message& asked, message answer, send_options how = {}) = 0;
  send_result reply(std::uint64_t request_id, message answer, send_options how = {}) {
    return answer_to(request_id, answer, how);
  }
  // Runs when the peer gives a request up that we may be working on.
  virtual void on_cancel(unique_function<void(std::uint64_t request_id)> handler) = 0;

  // --- state ----------------------------------------------------------------------------------
  // Between the handshake and the first sign of loss. No system call.
  virtual bool is_connected() const noexcept = 0;
  // The same with a look at the link: also where nobody drives, a peer that has gone is noticed.
  // Waits for nobody and runs no callback; what that peer said last may still be received.
  virtual bool still_connected() const noexcept { return is_connected(); }
  // Ends requests with `closed`, flushes what is queued, for at most flush_timeout, and ends all
  // else that waits. On the thread that drives it waits for none of it: that follows. Idempotent.
  virtual void close() = 0;
  // Why it is over; nullopt: it is not.
  virtual std::optional<channel_error> failure() const = 0;
  // Runs once, on the thread that drives, when the channel is over.
  virtual void on_closed(unique_function<void(const channel_error&)> handler) = 0;
  virtual channel_stats get_stats() const = 0;
  virtual const runtime_instance_id& instance_id() const noexcept = 0;
  virtual std::string_view type() const noexcept = 0;  // "shm+unix", "unix", "tcp", "tls", "memory"
  virtual channel_peer peer() const = 0;
  virtual ferry::loop& loop() noexcept = 0;

 protected:
  channel() = default;
  // For the awaitables: as the _async forms, but with a ticket to call the operation off again,
  // after which its callback does not run. One that has ended, or of which nothing is known, is
  // left alone. These know no tickets: what was begun goes on, and whoever waited hears nothing.
  enum class operation : std::uint8_t { send, receive, request };
  using ticket_result = result<std::uint64_t, channel_error>;
  virtual ticket_result begin_send(message what, on_sent done) {
    return without_ticket(send_async(std::move(what), std::move(done)));
  }
  virtual ticket_result begin_receive(on_answer next) {
    return without_ticket(receive_async(std::move(next)));
  }
  virtual ticket_result begin_request(message what, std::chrono::nanoseconds timeout,
                                      on_answer done) {
    return without_ticket(request_async(std::move(what), timeout, std::move(done)));
  }
  virtual void call_off(operation, std::uint64_t) {}
  // As reply(), for which it stands where only the id is known; moves from `answer`.
  virtual send_result answer_to(std::uint64_t request_id, message& answer, send_options how) {
    message asked;
    asked.request_id = request_id;
    return reply(asked, std::move(answer), how);
  }

 private:
  static ticket_result without_ticket(send_result&& began) {
    if (!began) return std::move(began).error();
    return std::uint64_t{0};
  }
};

}  // namespace ferry

#include "engine/channel/awaitables.h"
