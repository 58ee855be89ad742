// The client behind its API: calls in flight, their streams, and waiting for room and answers.
// Threads   start, call, function, open_stream, stream_host: any thread. Members under "driving"
//           and `here_`: only with the wheel of the loop in hand.
// Lifetime  shared with the streams; after leave_loop() everything answers `closed`.
// Source    engine/README.md, "Calls" and "Driving".
#pragma once
#include <fmt/format.h>
#include <sched.h>

#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "engine/client/call_table.h"
#include "engine/client/call_time.h"
#include "engine/client/client.h"
#include "engine/client/waiting_line.h"
#include "engine/loop/loop_core.h"
#include "engine/session/session.h"
#include "engine/spin_lock.h"
#include "engine/stream/failure.h"
#include "engine/stream/room_desk.h"
#include "engine/stream/stream_core.h"
#include "shm/coarse_clock.h"

namespace ferry {
class client::impl final : public loop_source,
                           public stream_host,
                           public call_time,
                           public std::enable_shared_from_this<client::impl> {
 public:
  using clock = call_time::clock;

  static constexpr std::size_t poll_batch =
      64;                                  // answers handled between two looks at anything else
  static constexpr int glance_looks = 32;  // a microsecond or a few
  static constexpr std::uint32_t most_in_a_row = 64;    // calls of one thread while others wait
  static constexpr std::uint32_t most_crowd_looks = 8;  // each lets every other thread run once
  static constexpr auto retry_pause = std::chrono::microseconds(50);  // when another thread drives

  impl(std::shared_ptr<loop_core> loop, std::unique_ptr<session> session, client_options options);
  // Joins the loop. Apart from the constructor, since it can fail.
  result<void> open();
  // The client goes: every call ends now. What is left is for streams that outlive it.
  void leave_loop();
  // Afterwards: inside a callback `last` may be on the stack, and so may its loop be.
  static void let_go(std::shared_ptr<impl> last);

  // --- loop_source ------------------------------------------------------------------------------
  std::size_t turn() override;
  bool has_input() noexcept override {
    return finished_ ? false : session_->has_input() || core_.over();
  }
  void ready(std::uint8_t, const reactor_event&) override { session_->serve_socket(); }
  void arm() override { session_->arm(); }
  void disarm() noexcept override { session_->disarm(); }
  clock::time_point next_due() noexcept override {
    const auto call = calls_.next_deadline();
    // Awake, idle memory is looked after in passing.
    return armed() ? std::min(call, session_->next_due()) : call;
  }
  std::size_t tick(clock::time_point now) override;
  session* direct() noexcept override { return finished_ ? nullptr : session_.get(); }

  // --- stream_host ------------------------------------------------------------------------------
  void send_small(const record_fields& fields) override;
  result<void> send_item(const record_fields& fields, std::span<const std::byte> bytes,
                         ferry::loan* filled, bool wait) override;
  result<bool, call_error> block(follower& me, std::chrono::nanoseconds limit) override;
  void give_up(std::uint64_t call, errc code) override;
  void when_room(stream_waiter who) override;
  void forget_room(void* context) override;
  result<ferry::loan> borrow(std::uint64_t size_bytes) override { return core_.borrow(size_bytes); }
  loop_core& loop() override { return *loop_; }

  // --- calls ------------------------------------------------------------------------------------
  // Starts a call; the completion is gone afterwards, whether it started or not: if it did not, it
  // never runs. `Argument`: std::span<const std::byte> or ferry::loan&. `watched`: the deadline for
  // the table to watch. `prepare(id)` runs before the call can end. `timeout`: what waiting for
  // room took is gone from it afterwards. While it waits nobody can end the call, so its completion
  // never runs on this thread before start() returns.
  using nothing = call_table::nothing;
  template <class Argument, class Done, class Prepare = nothing>
  result<std::uint64_t, call_error> start(record_fields fields, Argument&& argument, Done&& done,
                                          clock::time_point watched,
                                          std::chrono::nanoseconds& timeout,
                                          const call_options& options, session_core::notice when,
                                          Prepare&& prepare = {}) {
    if constexpr (std::is_same_v<std::decay_t<Argument>, std::span<const std::byte>>) {
      if (argument.size() > core_.options().inline_limit) {
        auto copy = copy_for_call(argument, timeout, options);
        if (!copy) return refusal(copy.error());
        return start(fields, *copy, done, watched, timeout, options, when, prepare);
      }
    }
    auto id = calls_.begin(done, watched, fields.function, prepare);
    if (!id && options.wait_for_room) {
      const auto deadline = from(clock::now(), timeout);
      auto room = drive_until(deadline, options.stop, [&] {
        id = calls_.begin(done, watched, fields.function, prepare);
        return id.has_value();
      });
      if (!room) return refusal(room.error());
      timeout = left_until(deadline);
    }
    if (!id) return too_many_calls();
    fields.call = *id;
    if (timeout <= std::chrono::nanoseconds::zero()) return *id;  // its deadline ends it, unsent
    set_time_left(fields, timeout);
    auto sent = core_.send(fields, argument, when);
    bool entered = true;
    if (!sent && sent.error().code == errc::full && options.wait_for_room) {
      // The ring is full: reading answers is what makes room.
      const auto deadline = from(clock::now(), timeout);
      entered = !calls_.retract(*id);
      auto room = drive_until(deadline, options.stop, [&] {
        if (entered) return true;  // the session ended meanwhile, and with it the call
        timeout = left_until(deadline);
        set_time_left(fields, timeout);
        calls_.enter_again(*id, watched);
        sent = core_.send(fields, argument);
        entered = sent || sent.error().code != errc::full || !calls_.retract(*id);
        return entered;
      });
      if (!room) sent = room.error();
    }
    if (!sent) {
      // False: the session ended meanwhile, and with it this call; its completion has run or runs.
      if (entered && !calls_.end(*id, [](completion&) {})) return *id;
      if (!entered) calls_.drop(*id);
      serve_soon();
      return refusal(sent.error());
    }
    return *id;
  }

  template <class Argument, class Prepare>
  result<std::uint64_t, call_error> start_async(record_fields fields, Argument&& argument,
                                                completion& done, const call_options& options,
                                                Prepare&& prepare) {
    const auto timeout = options.timeout.value_or(options_.timeout);
    const auto deadline = after(timeout);
    auto left = timeout;
    // Another thread that drives may have ended the call, and with it whoever holds the options.
    std::stop_token stop;
    if (options.stop.stop_possible()) [[unlikely]]
      stop = options.stop.token();
    auto id =
        start(fields, argument, done, deadline, left, options, session_core::notice::now, prepare);
    if (id) {
      // Asked to stop while `prepare` had the call listen, before there was a call to be ended.
      if (stop.stop_requested()) canceller{weak_from_this(), *id}();
      loop_->due(deadline);
      if (timeout != std::chrono::nanoseconds::max())
        calls_.stamp(*id, deadline - std::max(timeout, std::chrono::nanoseconds::zero()));
    }
    return id;
  }

  template <class Argument>
  call_result call(record_fields fields, Argument&& argument, const call_options& options,
                   std::uint32_t* function = nullptr) {
    if (loop_->mine()) return must_not_wait();
    if (options.stop.stop_requested()) return cancelled(false);
    auto timeout = options.timeout.value_or(options_.timeout);
    follower me;
    std::optional<call_result> outcome;
    struct landing {
      impl* self;
      follower* me;
      std::optional<call_result>* outcome;
      std::uint32_t* function;
      void operator()(const record_fields* answer, body&& content, call_error* why) {
        if (function != nullptr && answer != nullptr) *function = answer->function;
        if (why != nullptr) {
          outcome->emplace(std::move(*why));
        } else {
          outcome->emplace(std::move(content));
        }
        self->here_ == me ? me->arrive_here() : me->arrive();
      }
    };
    // The waiting thread watches its own deadline, not the table: so the clock is read, and the
    // worker's sleep checked with a fence, only while the worker is at work already.
    auto id = start(fields, argument, landing{this, &me, &outcome, function},
                    clock::time_point::max(), timeout, options, session_core::notice::later);
    if (!id) return std::move(id).error();
    if (options.stop.stop_possible()) [[unlikely]] {
      const std::stop_callback stopper(options.stop.token(), canceller{weak_from_this(), *id});
      return wait_for(*id, me, outcome, timeout);
    }
    return wait_for(*id, me, outcome, timeout);
  }

  // The time to ask for the number of a name is the call's own.
  template <class Argument>
  call_result call_named(std::string_view name, Argument&& argument, call_options options) {
    auto number = known_number(name);
    if (!number) {
      const auto deadline = from(clock::now(), options.timeout.value_or(options_.timeout));
      auto asked = function(name, options);
      if (!asked) return std::move(asked).error();
      number = *asked;
      options.timeout = left_until(deadline);
    }
    record_fields fields;
    fields.kind = record_kind::call;
    fields.function = number->value;
    return call(fields, argument, options);
  }

  // A loan with the bytes of an argument. `later`: there is no memory for it just now, but what the
  // worker holds may come back.
  result<ferry::loan> copy_of(std::span<const std::byte> bytes, bool& later);
  // Waits for it, as the options say.
  result<ferry::loan> copy_for_call(std::span<const std::byte> bytes,
                                    std::chrono::nanoseconds& timeout, const call_options& options);

  // One try to start the call of a coroutine, which drives nothing: in waiting.h.
  template <class Argument, class Prepare>
  waiting_line::tried try_start(record_fields fields, Argument&& argument, completion& done,
                                std::chrono::nanoseconds timeout, const call_options& options,
                                Prepare&& prepare, error& lack);
  // A place is free, or somebody came into the line: those in line are tried soon. Any thread.
  void serve_soon();

  // Ends the call as cancelled, unless it has ended: from any thread, soon, on whoever drives.
  struct canceller {
    std::weak_ptr<impl> self;
    std::uint64_t call;
    std::uint64_t ticket = 0;  // in line; 0: never there
    void operator()() const noexcept;
  };
  void cancel_here(std::uint64_t call, std::uint64_t ticket);
  void give_notice(std::uint64_t call, errc code);  // to the worker
  // Ends the call without running its completion. False: it has ended, or is just being ended.
  bool abandon(std::uint64_t call, errc code);

  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout);
  result<function_id, call_error> function(std::string_view name, const call_options& options);
  std::optional<function_id> known_number(std::string_view name);
  // The number of a function that need not exist yet: told to the worker in passing.
  // What waiting for room took is gone from options.timeout afterwards: see client::bind.
  result<function_id, call_error> bind(const method_key& method, call_options& options,
                                       bool without_deadline);
  result<function_id, call_error> bind(std::string_view name, call_options& options,
                                       bool without_deadline);
  // The same if there is room for it now.
  std::optional<result<function_id, call_error>> try_bind(const method_key& method);
  std::optional<result<function_id, call_error>> try_bind(std::string_view name);
  result<std::chrono::nanoseconds, call_error> ping(const call_options& options);

  std::shared_ptr<stream_core> open_stream(function_id function, std::span<const std::byte> bytes,
                                           ferry::loan* filled, std::uint8_t flags,
                                           const call_options& options);

  session_holdings holdings();
  std::uint32_t streams_open() {
    const std::lock_guard guard(streams_lock_);
    return static_cast<std::uint32_t>(streams_.size());
  }

  call_error over_error(bool maybe_executed) const;
  // Why a call could not be started, in a caller's terms.
  call_error refusal(const error& why) const;
  call_error too_many_calls() const;
  static call_error must_not_wait() {
    return {errc::invalid_request,
            "a callback or a coroutine must not wait: use call_async or call_task", false};
  }
  static call_error timed_out() { return {errc::timeout, "no answer before the deadline", true}; }
  static call_error cancelled(bool maybe) { return {errc::cancelled, "the caller gave up", maybe}; }

  client_options options_;
  std::shared_ptr<loop_core> loop_;
  std::unique_ptr<session> session_;
  session_core& core_;
  call_table calls_;
  waiting_line line_;  // of coroutines
  std::atomic<std::uint64_t> stale_{0};
  std::atomic<bool> closed_{false};  // by this side

 private:
  struct name_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>{}(name);
    }
  };

  // --- driving: only with the wheel in hand -----------------------------------------------------
  struct running;
  // A turn or tick is on the stack.
  struct turning {
    explicit turning(impl& of) noexcept : self(of) { ++self.inside_; }
    ~turning() {
      if (--self.inside_ == 0 && self.last_) [[unlikely]]
        let_go(std::move(self.last_));
    }
    turning(const turning&) = delete;
    turning& operator=(const turning&) = delete;
    impl& self;
  };
  std::uint64_t ended() const noexcept { return ended_.load(std::memory_order_relaxed); }
  void count_ended() noexcept {
    ended_.store(ended() + 1, std::memory_order_relaxed);
    if (line_.any()) [[unlikely]]
      serve_soon();
  }

  void land(const record_fields& fields, body&& content) {
    if (fields.kind == record_kind::reply) [[likely]] {
      const bool known = calls_.end_driving(fields.call, [&](completion& done) {
        count_ended();
        done(&fields, std::move(content), nullptr);
      });
      if (!known) stale_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    land_other(fields, std::move(content));
  }
  void land_other(const record_fields& fields, body&& content);
  void land_in_stream(const record_fields& fields, body&& content);

  std::size_t poll(std::size_t limit = poll_batch) {
    return session_->poll(
        [this](const record_fields& fields, body&& content) { land(fields, std::move(content)); },
        limit);
  }

  // The answer of a worker that is awake takes less than a microsecond: look for it before anything
  // that costs time, such as reading the clock. True if it has arrived.
  bool glance(follower& me, std::size_t limit) {
    if (!session_->spinning_pays()) return false;
    for (int look = 0; look < glance_looks; ++look) {
      if (session_->has_record()) {
        const bool crowded = loop_->wheel().crowded();
        // 1: most likely ours; do not touch the next line before the caller has it.
        poll(crowded ? poll_batch : limit);
        if (me.arrived() || !crowded) return me.arrived();
      }
      cpu_pause();
    }
    return false;
  }

  // With other threads that wait: lets them run, and with them whoever drives, instead of sleeping,
  // which costs two switches and two system calls a call. False: it takes longer than that.
  bool wait_in_crowd(follower& me);

  // Sleeps until `me` has arrived or `timeout` has passed. `batch`: records read in passing.
  bool wait_until_arrived(follower& me, std::chrono::nanoseconds timeout, std::size_t batch,
                          std::uint64_t call = 0) {
    bool drives = loop_->try_take();
    if (drives && loop_->alone()) {
      loop_->activate(*this);
      here_ = &me;
      const bool arrived = glance(me, batch);
      here_ = nullptr;
      if (arrived) {
        const bool crowded = loop_->wheel().crowded();
        const bool enough = crowded && ++in_a_row_ % most_in_a_row == 0;
        loop_->leave();
        if (enough) ::sched_yield();  // others wait for our CPU, perhaps
        return true;
      }
    }
    // Owed since start(): what we wait for is not a matter of instants.
    core_.announce(news::records);
    if (!drives) {
      if (wait_in_crowd(me)) return true;
      drives = loop_->try_take();
    }
    const auto began = clock::now();
    const auto deadline = from(began, timeout);
    if (call != 0) calls_.stamp(call, began);
    for (;;) {
      bool promoted = false;
      if (drives) {
        loop_->activate(*this);
        here_ = &me;
        drive_until_arrived(me, deadline);
        here_ = nullptr;
        loop_->leave();
      } else {
        promoted = loop_->wheel().follow(me, bound(deadline));
        if (!me.arrived() && wait_in_crowd(me)) return true;
      }
      if (me.arrived()) {
        if (promoted) loop_->wheel().pass_on();
        return true;
      }
      if (deadline != clock::time_point::max() && clock::now() >= deadline) {
        loop_->wheel().pass_on();
        return false;
      }
      drives = loop_->try_take();
    }
  }

  call_result wait_for(std::uint64_t id, follower& me, std::optional<call_result>& outcome,
                       std::chrono::nanoseconds timeout) {
    if (wait_until_arrived(me, timeout, 1, id)) return std::move(*outcome);
    if (abandon(id, errc::timeout)) return timed_out();
    // Somebody is just completing it: the outcome is a few instructions away.
    while (!me.arrived()) cpu_pause();
    return std::move(*outcome);
  }

  // `now`: precise after a wait for the deadline itself; coarse, so late by a tick, in passing.
  void expire(clock::time_point now);
  // The session is over: nothing of it is worth watching any more.
  void finish();
  void end_all();
  void drive_until_arrived(follower& me, clock::time_point deadline);
  void serve_room() { room_.serve(*session_, *loop_, *this); }
  void serve_line();

  // Drives, or waits while another thread does, until `ready` says so. Errors: full, closed,
  // timeout, cancelled.
  template <class Ready>
  result<void> drive_until(clock::time_point deadline, const stop_ref& stop, Ready&& ready) {
    if (loop_->mine()) return error{errc::full, 0, "no room, and a callback cannot wait for it"};
    struct nudger {
      loop_core* loop;
      void operator()() const noexcept { loop->nudge(); }
    };
    std::optional<std::stop_callback<nudger>> wakes;
    if (stop.stop_possible()) wakes.emplace(stop.token(), nudger{loop_.get()});
    bool done = false;
    auto look = [&] { return done || (done = ready()) || stop.stop_requested(); };
    const condition there{[](void* check) { return (*static_cast<decltype(look)*>(check))(); },
                          &look};
    for (;;) {
      if (loop_->try_take()) {
        loop_->activate(*this);
        loop_->turn();
        session_->wake_for_room(true);  // of a loop with several sources
        if (!there() && loop_->wait(deadline, true, there) == woke::timeout) {
          loop_->serve_due(clock::now());
        }
        session_->wake_for_room(false);
        loop_->leave();
      } else {
        follower me;
        const bool promoted = loop_->wheel().follow(me, clock::now() + retry_pause);
        if (there() || promoted) loop_->wheel().pass_on();
      }
      if (done) return {};
      if (stop.stop_requested()) return error{errc::cancelled, 0, "the caller gave up"};
      if (core_.over()) return error{errc::closed, 0, "the session is over"};
      if (deadline != clock::time_point::max() && clock::now() >= deadline) {
        return error{errc::timeout, 0, "no room before the deadline"};
      }
    }
  }

  std::shared_ptr<stream_core> stream_of(std::uint64_t call);
  void forget_stream(std::uint64_t call);

  std::atomic<std::uint64_t> ended_{0};  // calls; counted by the driver
  bool line_at_desk_ = false;            // it waits at room_
  follower* here_ = nullptr;             // the driver's own, if it waits for one call
  std::uint32_t in_a_row_ = 0;
  // Of threads in a crowd, before they sleep: fewer after looks that were in vain. A hint.
  std::atomic<std::uint32_t> crowd_looks_{most_crowd_looks};
  std::uint32_t turns_ = 0;
  std::uint32_t inside_ = 0;    // turns of this client that are on the stack
  std::shared_ptr<impl> last_;  // of a client that went inside one: held until it is over
  bool finished_ = false;
  room_desk room_;
  std::uint64_t pings_ = 0;

  spin_lock streams_lock_;
  std::unordered_map<std::uint64_t, std::shared_ptr<stream_core>> streams_;
  std::shared_ptr<stream_core> last_stream_;  // of the item before: the driver's, mostly a hit

  std::shared_mutex names_mutex_;
  std::unordered_map<std::string, function_id, name_hash, std::equal_to<>> names_;
  // By method_key::slot(): the number told to the worker, plus one.
  static constexpr std::uint32_t first_bound = 1u << 31;  // numbers that the host gives
  std::unordered_map<std::string, function_id, name_hash, std::equal_to<>> bound_names_;
  static constexpr std::size_t slot_cache = 64;
  std::array<std::atomic<std::uint32_t>, slot_cache> bound_slots_{};
};

}  // namespace ferry
