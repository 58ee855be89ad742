// The channel behind its interface: a source of its loop above, a link beneath.
// Threads   operations: any. What reads, finishes and calls back: with the wheel in hand.
// Locks     state_mutex_ (inbox, waiters, failure) is never held across a callback or a call of the
//           link.
// Source    engine/channel/README.md.
#pragma once
#include <atomic>
#include <deque>
#include <mutex>

#include "engine/channel/asked_requests.h"
#include "engine/channel/counters.h"
#include "engine/channel/handshake.h"
#include "engine/channel/link.h"
#include "engine/channel/options.h"
#include "engine/channel/request_table.h"
#include "shm/birthplace.h"

namespace ferry {

class channel_impl final : public channel,
                           public loop_source,
                           public link_sink,
                           public std::enable_shared_from_this<channel_impl> {
 public:
  using clock = std::chrono::steady_clock;

  enum class role { connects, accepts, paired };
  // Of the side that accepts: decides who may come. Runs once, with the wheel. Without one only the
  // instance that the channel was made for may.
  using admission =
      unique_function<result<void, channel_error>(channel_hello&, const channel_peer&)>;
  // The end of the handshake, good or bad. Runs once, with the wheel.
  using on_open = unique_function<void(result<void, channel_error>&&)>;

  // `instance`: with an admission a placeholder until the hello has come.
  channel_impl(role how, runtime_instance_id instance, channel_options options, ferry::loop loop);
  ~channel_impl() override;
  // Joins the loop. Takes the wheel. `held` is let go when the channel is over.
  void begin(std::unique_ptr<channel_link> link, admission admit, on_open opened,
             std::shared_ptr<void> held = {});
  const channel_options& options() const noexcept { return options_; }
  // Of the connection and the handshake: connect_timeout from the making of this on.
  clock::time_point open_by() const noexcept { return open_by_; }
  // Of the side that accepts, with the wheel: ends a handshake that is not over.
  void turn_away(channel_error why);
  // Drives until the handshake has ended, well or badly.
  result<void, channel_error> wait_open();

  // --- channel ----------------------------------------------------------------------------------
  send_result send(message what, send_options how) override;
  send_result send_async(message what, on_sent done) override {
    return begun(begin_send(std::move(what), std::move(done)));
  }
  result<payload, channel_error> borrow(std::uint64_t size_bytes) override;
  message_result receive(std::chrono::nanoseconds timeout) override;
  std::optional<message_result> try_receive() override;
  send_result receive_async(on_answer next) override;
  void on_message(unique_function<void(message&&)> handler) override;
  message_result request(message what, std::chrono::nanoseconds timeout) override;
  send_result request_async(message what, std::chrono::nanoseconds timeout,
                            on_answer done) override {
    return begun(begin_request(std::move(what), timeout, std::move(done)));
  }
  send_result reply(const message& asked, message answer, send_options how) override {
    return answer_to(asked.request_id, answer, how);
  }
  send_result answer_to(std::uint64_t request_id, message& answer, send_options how) override;
  void on_cancel(unique_function<void(std::uint64_t)> handler) override;
  bool is_connected() const noexcept override {
    return phase_.load(std::memory_order_acquire) == phase::open && !made_in_.left();
  }
  bool still_connected() const noexcept override;
  void close() override;
  std::optional<channel_error> failure() const override;
  void on_closed(unique_function<void(const channel_error&)> handler) override;
  channel_stats get_stats() const override;
  const runtime_instance_id& instance_id() const noexcept override { return instance_; }
  std::string_view type() const noexcept override { return type_; }
  channel_peer peer() const override { return link_->peer(); }
  ferry::loop& loop() noexcept override { return loop_; }

  // --- for its awaitables -----------------------------------------------------------------------
  ticket_result begin_send(message what, on_sent done) override;
  ticket_result begin_receive(on_answer next) override;
  ticket_result begin_request(message what, std::chrono::nanoseconds timeout,
                              on_answer done) override;
  void call_off(operation what, std::uint64_t ticket) override;

  // --- loop_source ------------------------------------------------------------------------------
  std::size_t turn() override;
  bool has_input() noexcept override;
  void ready(std::uint8_t which, const reactor_event& event) override;
  void arm() override { link_->arm(); }
  void disarm() noexcept override { link_->disarm(); }
  clock::time_point next_due() noexcept override;
  std::size_t tick(clock::time_point now) override;
  session* direct() noexcept override;

  // --- link_sink --------------------------------------------------------------------------------
  void take(const frame_fields& fields, message&& what) override;
  bool wants_more() noexcept override;
  void has_room() noexcept override;
  void wake() noexcept override;

 private:
  enum class phase : std::uint8_t { connecting, greeting, open, closing, over };
  static constexpr std::size_t frames_per_turn = 256;
  static constexpr std::size_t owed_most = 4096;

  // Who waits for room or for a message: a thread, or a callback.
  struct room_waiter {
    follower* thread = nullptr;
    std::optional<send_result>* outcome = nullptr;
    frame_fields fields{};
    message what;
    on_sent done;
    std::uint64_t ticket = 0;
  };
  struct message_waiter {
    follower* thread = nullptr;
    std::optional<message_result>* outcome = nullptr;
    on_answer done;
    std::uint64_t ticket = 0;
  };

  bool at(phase which) const noexcept { return phase_.load(std::memory_order_relaxed) == which; }
  clock::time_point now() const noexcept { return mine() && in_turn_ ? turn_now_ : clock::now(); }
  bool mine() const noexcept { return core_.mine(); }
  static clock::time_point after(clock::time_point from, std::chrono::nanoseconds timeout);
  // In a forked child: what every operation says, and touches nothing.
  static channel_error not_ours() {
    return {errc::not_supported, "the channel of a forked child's parent: open another one"};
  }
  static send_result begun(ticket_result&& how) {
    if (!how) return std::move(how).error();
    return {};
  }
  message take_oldest(bool& made_room);
  channel_error over_error() const;
  channel_error refusal(const error& why) const;

  // --- sending, any thread --------------------------------------------------------------------
  send_result submit(const frame_fields& fields, message& what, send_options how);
  result<void> try_submit(const frame_fields& fields, message& what);
  result<void> check_size(const frame_fields& fields) const;
  void owe(frame_kind kind, std::uint64_t request_id);
  bool give_up(std::uint64_t id);
  bool withdraw(std::uint64_t id);
  // With the lock held, these three. `queued`: bytes in the link, which is asked before.
  bool may_wait(const frame_fields& fields) const noexcept;
  void wait_for_room(room_waiter&& who, std::uint64_t queued);
  void waits_no_more(std::deque<room_waiter>::iterator who);
  void call_off_send(std::uint64_t ticket);
  void call_off_receive(std::uint64_t ticket);
  result<std::uint64_t, channel_error> start(message& what, std::chrono::nanoseconds timeout,
                                             on_answer&& done, bool wait);
  // Drives, or follows whoever does, until `me` has arrived (true) or the deadline passes.
  bool drive(follower& me, clock::time_point deadline);

  // --- with the wheel ---------------------------------------------------------------------------
  void greet();
  void take_greeting(const frame_fields& fields, message&& what);
  void take_control(const frame_fields& fields, message&& what);
  void take_answer(const frame_fields& fields, message&& what);
  void take_message(const frame_fields& fields, message&& what);
  void answer_health(const frame_fields& fields);
  health_report own_health();
  void say(frame_kind kind, message what);
  void opened();
  void refuse(channel_error why);
  void begin_close();
  std::size_t end_requests();
  void say_bye();
  void finish(channel_error why);
  std::size_t serve_room();
  void refuse_request(const room_waiter& unsent, const channel_error& why);
  void match();
  std::size_t expire(clock::time_point now);
  std::chrono::nanoseconds silence_allowed() const noexcept;

  birthplace made_in_;  // a forked child leaves its parent's channels alone
  const role role_;
  runtime_instance_id instance_;
  const channel_options options_;
  const clock::time_point open_by_;
  ferry::loop loop_;
  loop_core& core_;
  std::unique_ptr<channel_link> link_;
  std::string_view type_;
  admission admit_;
  on_open on_open_;
  std::shared_ptr<void> held_;

  std::atomic<phase> phase_{phase::connecting};
  bool joined_ = false;
  bool in_turn_ = false;
  bool owes_bye_ = false;       // while closing: what waits for room goes first
  bool ends_requests_ = false;  // the same: nobody waits for an answer any more
  unsigned taken_ = 0;          // frames
  clock::time_point turn_now_{};
  clock::time_point phase_deadline_ = clock::time_point::max();
  clock::time_point heard_{}, pinged_{};
  std::uint64_t heard_activity_ = 0;
  std::optional<channel_error> close_reason_;  // while closing: what finish() will say
  clock::time_point opened_at_{};

  request_tables requests_;
  channel_counters counters_;

  mutable std::mutex state_mutex_;
  std::optional<channel_error> failure_;
  std::deque<message> inbox_;
  std::uint64_t inbox_bytes_ = 0;
  std::atomic<bool> inbox_full_{false};
  std::uint64_t last_ticket_ = 0;
  std::deque<message_waiter> receivers_;
  std::deque<room_waiter> senders_;
  // Of senders_ and of the one that is just being sent.
  std::atomic<std::uint32_t> sender_count_{0};
  std::atomic<std::uint64_t> waiting_bytes_{0};
  std::uint64_t queue_peak_ = 0;  // with what was in the link then
  std::atomic<bool> room_came_{false};
  std::deque<std::pair<frame_kind, std::uint64_t>> owed_;  // found no room, must not be lost
  std::atomic<std::size_t> owed_count_{0};
  unique_function<void(message&&)> handler_;  // with the wheel
  unique_function<void(std::uint64_t)> cancel_handler_;
  bool cancelling_ = false;  // it runs
  unique_function<void(const channel_error&)> closed_handler_;
  asked_requests asked_of_us_;
};

}  // namespace ferry
