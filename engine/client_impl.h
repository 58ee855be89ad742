// The client behind its API: calls in flight, the one that drives, and waiting for room and
// answers.
// Threads   start, call, run_once, function: any thread. Members under "driving" and `ended_`,
//           `here_`: only with the wheel (driver.h) in hand.
// Source    engine/README.md, "Calls" and "Driving".
#pragma once
#include <fmt/format.h>

#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "engine/call_table.h"
#include "engine/client.h"
#include "engine/coarse_clock.h"
#include "engine/loop/loop_core.h"
#include "engine/session/session.h"

namespace ferry {
class client::impl final : public loop_source {
 public:
  using clock = std::chrono::steady_clock;

  static constexpr std::size_t poll_batch =
      64;  // answers handled between two looks at anything else
  static constexpr std::size_t max_error_text = 4096;  // of a worker's failure: a longer one is cut
  static constexpr int glance_looks = 32;              // a microsecond or a few
  static constexpr auto retry_pause = std::chrono::microseconds(50);  // when another thread drives

  // Reading the precise clock costs more than sending a record. A deadline of a second or more may
  // be a tick late, never early.
  static constexpr auto coarse_is_enough = std::chrono::seconds(1);

  static clock::time_point after(std::chrono::nanoseconds timeout) {
    if (timeout == std::chrono::nanoseconds::max()) return clock::time_point::max();
    const auto now = timeout < coarse_is_enough ? clock::now() : coarse_now() + coarse_tick;
    if (timeout > clock::time_point::max() - now) return clock::time_point::max();
    return now + std::max(timeout, std::chrono::nanoseconds::zero());
  }

  static std::optional<clock::time_point> bound(clock::time_point deadline) {
    if (deadline == clock::time_point::max()) return std::nullopt;
    return deadline;
  }

  struct name_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>{}(name);
    }
  };

  impl(std::shared_ptr<loop_core> loop, std::unique_ptr<session> session, client_options options)
      : options_(std::move(options)),
        loop_(std::move(loop)),
        session_(std::move(session)),
        core_(session_->core()),
        calls_(options_.max_calls) {}

  // Joins the loop. Apart from the constructor, since it can fail.
  result<void> open() {
    const wheel_guard wheel(*loop_);
    loop_->add(*this);
    return loop_->watch(*this, core_.socket(), 0);
  }

  // The client goes: every call ends now. What is left is for streams that outlive it.
  void leave_loop() {
    closed_.store(true, std::memory_order_relaxed);
    core_.close();
    const wheel_guard wheel(*loop_);
    finish();
    loop_->remove(*this);
  }

  // --- loop_source ------------------------------------------------------------------------------
  std::size_t turn() override {
    const std::uint64_t before = ended();
    poll();
    core_.collect_returns();
    if (calls_.next_deadline() != clock::time_point::max()) expire(coarse_now());
    if (core_.over() && !finished_) {
      finish();
      return 1;  // worth telling, also if no call was in flight
    }
    return ended() - before;
  }
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
  std::size_t tick(clock::time_point now) override {
    const std::uint64_t before = ended();
    expire(now);
    core_.trim(false);
    return ended() - before;
  }
  session* direct() noexcept override { return finished_ ? nullptr : session_.get(); }

  // Starts a call; the completion is gone afterwards, whether it started or not. `Argument`:
  // std::span<const std::byte> or ferry::loan&. `watched`: the deadline for the table to watch.
  template <class Argument, class Done>
  result<std::uint64_t, call_error> start(record_fields fields, Argument&& argument, Done&& done,
                                          clock::time_point watched,
                                          std::chrono::nanoseconds timeout, bool wait_for_room,
                                          session_core::notice when) {
    if constexpr (std::is_same_v<std::decay_t<Argument>, std::span<const std::byte>>) {
      if (argument.size() > core_.options().inline_limit) {
        auto copy = core_.borrow(argument.size());
        if (!copy) return refusal(copy.error());
        std::memcpy(copy->data(), argument.data(), argument.size());
        return start(fields, *copy, done, watched, timeout, wait_for_room, when);
      }
    }
    auto id = calls_.begin(done, watched);
    if (!id && wait_for_room) {
      if (auto room = drive_until(after(timeout),
                                  [&] {
                                    id = calls_.begin(done, watched);
                                    return id.has_value();
                                  });
          !room) {
        return refusal(room.error());
      }
    }
    if (!id) {
      return call_error{
          errc::overloaded,
          fmt::format("{} calls are in flight, as many as max_calls allows", options_.max_calls),
          false};
    }
    fields.call = *id;
    fields.deadline_ns =
        timeout == std::chrono::nanoseconds::max()
            ? 0
            : static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 1));
    auto sent = core_.send(fields, argument, when);
    if (!sent && sent.error().code == errc::full && wait_for_room) {
      // The ring is full: reading answers is what makes room.
      auto room = drive_until(after(timeout), [&] {
        sent = core_.send(fields, argument);
        return sent || sent.error().code != errc::full;
      });
      if (!room) sent = room.error();
    }
    if (!sent) {
      // False: the session ended meanwhile, and with it this call; its completion has run or runs.
      if (!calls_.end(*id, [](completion&) {})) return *id;
      return refusal(sent.error());
    }
    return *id;
  }

  template <class Argument>
  result<void, call_error> start_async(record_fields fields, Argument&& argument, completion done,
                                       call_options options) {
    const auto timeout = options.timeout.value_or(options_.timeout);
    const auto deadline = after(timeout);
    auto id = start(fields, argument, std::move(done), deadline, timeout, options.wait_for_room,
                    session_core::notice::now);
    if (!id) return std::move(id).error();
    loop_->due(deadline);
    return {};
  }

  call_result wait_for(std::uint64_t id, follower& me, std::optional<call_result>& outcome,
                       std::chrono::nanoseconds timeout) {
    bool drives = loop_->try_take();
    if (drives && loop_->alone()) {
      here_ = &me;
      const bool arrived = glance(me);
      here_ = nullptr;
      if (arrived) {
        loop_->leave();
        return std::move(*outcome);
      }
    }
    core_.announce(news::records);  // owed since start(): the answer is not a matter of instants
    const auto deadline = after(timeout);
    for (;;) {
      if (drives) {
        loop_->activate(*this);
        here_ = &me;
        drive_until_arrived(me, deadline);
        here_ = nullptr;
        loop_->leave();
      } else {
        loop_->wheel().follow(me, bound(deadline));
      }
      if (me.arrived()) return std::move(*outcome);
      if (deadline != clock::time_point::max() && clock::now() >= deadline) {
        loop_->wheel().pass_on();
        if (calls_.end(id, [](completion&) {})) return timed_out();
        // Somebody is just completing it: the outcome is a few instructions away.
        while (!me.arrived()) cpu_pause();
        return std::move(*outcome);
      }
      drives = loop_->try_take();
    }
  }

  template <class Argument>
  call_result call(record_fields fields, Argument&& argument, call_options options,
                   std::uint32_t* function = nullptr) {
    if (loop_->mine()) {
      return call_error{errc::invalid_request,
                        "a callback must not wait for another call: use call_async", false};
    }
    const auto timeout = options.timeout.value_or(options_.timeout);
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
    auto id =
        start(fields, argument, landing{this, &me, &outcome, function}, clock::time_point::max(),
              timeout, options.wait_for_room, session_core::notice::later);
    if (!id) return std::move(id).error();
    return wait_for(*id, me, outcome, timeout);
  }

  result<std::size_t, call_error> run_once(std::chrono::nanoseconds timeout) {
    const std::uint64_t before = ended();
    if (core_.over()) timeout = {};
    if (auto ran = loop_->run_once(timeout); !ran) {
      return call_error{ran.error().code, ran.error().message(), false};
    }
    const std::uint64_t count = ended() - before;
    if (count == 0 && core_.over()) return over_error(false);
    return static_cast<std::size_t>(count);
  }

  result<function_id, call_error> function(std::string_view name, call_options options) {
    {
      const std::shared_lock guard(names_mutex_);
      if (const auto known = names_.find(name); known != names_.end()) return known->second;
    }
    if (name.empty())
      return call_error{errc::invalid_request, "a function has no empty name", false};
    record_fields fields;
    fields.kind = record_kind::resolve;
    std::uint32_t number = 0;
    const auto bytes = std::as_bytes(std::span(name));
    if (bytes.size() > core_.options().inline_limit) {
      return call_error{errc::function_not_found, "a function name of that length", false};
    }
    auto answer = call(fields, std::span<const std::byte>(bytes), options, &number);
    if (!answer) return std::move(answer).error();
    const std::unique_lock guard(names_mutex_);
    return names_.try_emplace(std::string(name), function_id{number}).first->second;
  }

  call_error over_error(bool maybe_executed) const {
    call_error why = core_.failure();
    // To a caller every end but its own close() is a worker that is not there any more.
    if (!closed_.load(std::memory_order_relaxed) && why.code != errc::unavailable) {
      why = {errc::unavailable, "the session ended: " + why.message(), false};
    }
    why.maybe_executed = maybe_executed;
    return why;
  }

  client_options options_;
  std::shared_ptr<loop_core> loop_;
  std::unique_ptr<session> session_;
  session_core& core_;
  call_table calls_;
  std::atomic<std::uint64_t> stale_{0};
  std::atomic<bool> closed_{false};  // by this side

 private:
  static call_error timed_out() { return {errc::timeout, "no answer before the deadline", true}; }

  // --- driving: only with the wheel in hand -----------------------------------------------------
  std::uint64_t ended() const noexcept { return ended_.load(std::memory_order_relaxed); }
  void count_ended() noexcept { ended_.store(ended() + 1, std::memory_order_relaxed); }

  void land(const record_fields& fields, body&& content) {
    if (fields.kind == record_kind::call || fields.kind == record_kind::resolve) {
      return core_.fail(errc::corrupt, "the worker sent a call to its host");
    }
    const bool known = calls_.end(fields.call, [&](completion& done) {
      count_ended();
      if (fields.kind == record_kind::failure) [[unlikely]] {
        const errc code = fields.code == 0 ? errc::internal : static_cast<errc>(fields.code);
        call_error why{code, std::string(content.text().substr(0, max_error_text)), true};
        done(&fields, body(), &why);
      } else {
        done(&fields, std::move(content), nullptr);
      }
    });
    if (!known)
      stale_.fetch_add(1, std::memory_order_relaxed);  // ended by its deadline, or never was
  }

  // The answer of a worker that is awake takes less than a microsecond: look for it before anything
  // that costs time, such as reading the clock. True if it has arrived.
  bool glance(follower& me) {
    if (!session_->spinning_pays()) return false;
    for (int look = 0; look < glance_looks; ++look) {
      if (session_->has_record()) {
        poll(1);  // most likely ours: do not touch the next line before the caller has it
        return me.arrived();
      }
      cpu_pause();
    }
    return false;
  }

  std::size_t poll(std::size_t limit = poll_batch) {
    return session_->poll(
        [this](const record_fields& fields, body&& content) { land(fields, std::move(content)); },
        limit);
  }

  // `now`: precise after a wait for the deadline itself; coarse, so late by a tick, in passing.
  void expire(clock::time_point now) {
    if (now < calls_.next_deadline()) return;
    calls_.end_expired(now, [this](completion& done) {
      count_ended();
      call_error why = timed_out();
      done(nullptr, body(), &why);
    });
  }

  // The session is over: nothing of it is worth watching any more.
  void finish() {
    if (!std::exchange(finished_, true)) loop_->unwatch(core_.socket());
    end_all();
  }

  void end_all() {
    core_.reclaim();
    calls_.end_all([this](completion& done) {
      count_ended();
      call_error why = over_error(true);
      done(nullptr, body(), &why);
    });
  }

  void drive_until_arrived(follower& me, clock::time_point deadline) {
    for (;;) {
      const std::size_t landed = loop_->alone() ? poll() : loop_->turn();
      if (me.arrived()) return;
      if (core_.over()) return finish();
      if (landed != 0) {
        // Also a flood of answers to nobody must not carry us past a deadline.
        if (++turns_ % 64 != 0) continue;
        const auto now = clock::now();
        loop_->serve_due(now);
        if (me.arrived() || now >= deadline) return;
        continue;
      }
      const woke how = loop_->wait(deadline);
      if (loop_->has_posts()) loop_->turn();
      if (how == woke::timeout) {
        const auto now = clock::now();
        loop_->serve_due(now);
        if (me.arrived() || now >= deadline) return;
      }
    }
  }

  // Drives, or waits while another thread does, until `ready` says so.
  template <class Ready>
  result<void> drive_until(clock::time_point deadline, Ready&& ready) {
    if (loop_->mine()) return error{errc::full, 0, "no room, and a callback cannot wait for it"};
    const condition there{[](void* check) { return (*static_cast<Ready*>(check))(); }, &ready};
    for (;;) {
      if (loop_->try_take()) {
        loop_->activate(*this);
        loop_->turn();
        const bool done = there() || loop_->wait(deadline, true, there) == woke::condition;
        loop_->leave();
        if (done) return {};
      } else {
        follower me;
        loop_->wheel().follow(me, clock::now() + retry_pause);
        if (there()) {
          loop_->wheel().pass_on();
          return {};
        }
      }
      if (core_.over()) return error{errc::closed, 0, "the session is over"};
      if (deadline != clock::time_point::max() && clock::now() >= deadline) {
        return error{errc::timeout, 0, "no room before the deadline"};
      }
    }
  }

  // Why a call could not be started, in a caller's terms.
  call_error refusal(const error& why) const {
    if (core_.over()) return over_error(false);
    switch (why.code) {
      case errc::full:
      case errc::no_memory:
      case errc::limit: return {errc::overloaded, why.message(), false};
      case errc::bad_argument: return {errc::invalid_request, why.message(), false};
      default: return {why.code, why.message(), false};
    }
  }

  std::atomic<std::uint64_t> ended_{0};  // calls; counted by the driver
  follower* here_ = nullptr;             // the driver's own, if it waits for one call
  std::uint32_t turns_ = 0;
  bool finished_ = false;
  std::shared_mutex names_mutex_;
  std::unordered_map<std::string, function_id, name_hash, std::equal_to<>> names_;
};

}  // namespace ferry
