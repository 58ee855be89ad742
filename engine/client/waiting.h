// A coroutine that starts a call, and waits in line while there is no room for it.
// Threads   the thread that drives. A coroutine may begin on another one while nobody drives.
// Lifetime  lies in the coroutine's frame. Destroyed while it waits, it leaves the line.
// Source    engine/README.md, "Calls".
#pragma once
#include "engine/client/client_impl.h"

namespace ferry {

class client::waiting : public waiting_line::entry, private timer_entry {
 protected:
  using tried = waiting_line::tried;

  // `stop` must outlive it.
  waiting(impl& client, bool large, const call_options& options, const std::stop_token& stop)
      : entry(large), impl_(client), options_(options), token_(stop) {
    options_.stop = token_;  // theirs may be gone by now
    timeout_ = options_.timeout.value_or(impl_.options_.timeout);
  }
  ~waiting();

  // One try, with timeout_ left. Does not run anything else.
  virtual tried try_start() = 0;
  virtual void end(call_error why) = 0;  // sets the outcome
  // Why, if it is not to wait.
  virtual call_error refused(tried how) const = 0;

  // False: it has ended and is not resumed. True: it is when it ends, and may be gone already.
  bool start(std::coroutine_handle<> coroutine);
  std::coroutine_handle<> coroutine() const noexcept { return coroutine_; }

  impl& impl_;
  call_options options_;
  const std::stop_token& token_;
  std::chrono::nanoseconds timeout_;
  std::optional<std::stop_callback<impl::canceller>> stop_;  // in line, then in flight

 private:
  tried attempt() override;
  void resume() override { coroutine_.resume(); }
  void give_up(call_error why) override;
  void on_due(impl::clock::time_point now) override;
  void leave_line() noexcept;

  std::coroutine_handle<> coroutine_;
  impl::clock::time_point deadline_;  // while in line
};

// One call that a coroutine awaits. Destroyed while it is in flight, it cancels.
class client::operation final : public waiting {
 public:
  operation(impl& client, function_id function, std::span<const std::byte> bytes,
            ferry::loan* filled, std::uint8_t flags, const call_options& options,
            const std::stop_token& stop)
      : waiting(client,
                (filled != nullptr ? filled->size() : bytes.size()) >
                    client.core_.options().inline_limit,
                options, stop),
        function_(function),
        bytes_(bytes),
        filled_(filled),
        flags_(flags) {}
  ~operation() {
    if (call_ != 0) impl_.abandon(call_, errc::cancelled);
  }

  bool await_ready() {
    if (!token_.stop_requested()) return false;
    outcome_.emplace(impl::cancelled(false));
    return true;
  }
  bool await_suspend(std::coroutine_handle<> awaiting) { return start(awaiting); }
  call_result await_resume() { return std::move(*outcome_); }

 private:
  tried try_start() override;
  void end(call_error why) override { outcome_.emplace(std::move(why)); }
  call_error refused(tried how) const override;

  function_id function_;
  std::span<const std::byte> bytes_;
  ferry::loan* filled_;
  std::uint8_t flags_;
  std::uint64_t call_ = 0;  // in flight
  ferry::loan copy_;        // of bytes_, if they do not fit into the ring
  error lack_{errc::full};
  std::optional<call_result> outcome_;
};

// The number of a function, told to the worker in passing.
class client::binding final : public waiting {
 public:
  binding(impl& client, const method_key& method, const call_options& options,
          const std::stop_token& stop)
      : waiting(client, false, options, stop), method_(method) {}

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting) { return start(awaiting); }
  result<function_id, call_error> await_resume() { return std::move(*outcome_); }

 private:
  tried try_start() override {
    outcome_ = impl_.try_bind(method_);
    return outcome_ ? tried::ended : tried::no_room;
  }
  void end(call_error why) override { outcome_.emplace(std::move(why)); }
  call_error refused(tried) const override {
    return impl_.refusal({errc::full, 0, "no room to name the function"});
  }

  const method_key& method_;
  std::optional<result<function_id, call_error>> outcome_;
};

template <class Argument, class Prepare>
waiting_line::tried client::impl::try_start(record_fields fields, Argument&& argument,
                                            completion& done, std::chrono::nanoseconds timeout,
                                            const call_options& options, Prepare&& prepare,
                                            error& lack) {
  using tried = waiting_line::tried;
  const auto deadline = after(timeout);
  // Another thread that drives may end the call, and with it whoever holds the options.
  std::stop_token stop;
  if (options.stop.stop_possible()) stop = options.stop.token();
  const auto id = calls_.begin(done, deadline, fields.function, prepare);
  if (!id) return tried::no_place;
  fields.call = *id;
  if (timeout <= std::chrono::nanoseconds::zero()) {  // its deadline ends it, unsent
    loop_->due(deadline);
    return tried::started;
  }
  set_time_left(fields, timeout);
  const bool in_arena = argument.size() > core_.options().inline_limit;
  if (const auto sent = core_.send(fields, argument); !sent) {
    // False: the session ended meanwhile, and with it this call; its completion has run or runs.
    if (!calls_.end(*id, [](completion&) {})) return tried::started;
    lack = sent.error();
    if (lack.code != errc::full) return tried::ended;
    return in_arena && core_.has_room() ? tried::no_memory : tried::no_room;
  }
  // Asked to stop while `prepare` had the call listen, before there was a call to be ended.
  if (stop.stop_requested()) canceller{weak_from_this(), *id}();
  loop_->due(deadline);
  if (timeout != std::chrono::nanoseconds::max()) {
    calls_.stamp(*id, deadline - std::max(timeout, std::chrono::nanoseconds::zero()));
  }
  return tried::started;
}

}  // namespace ferry
