#include "engine/client/waiting.h"

namespace ferry {

// --- in line ------------------------------------------------------------------------------------

client::waiting::~waiting() {
  if (!in_line() || impl_.core_.forked()) return;
  const wheel_guard wheel(*impl_.loop_);
  leave_line();
}

bool client::waiting::start(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  // Whoever comes while others wait goes behind them.
  if (!options_.wait_for_room || !impl_.line_.any() || impl_.core_.over()) {
    const tried how = try_start();
    if (how == tried::started) return true;
    if (how == tried::ended || !options_.wait_for_room) {
      if (how != tried::ended) end(refused(how));
      impl_.serve_soon();  // somebody may wait for the place that we had for an instant
      return false;
    }
  }
  const wheel_guard wheel(*impl_.loop_);
  deadline_ = impl::from(impl::clock::now(), timeout_);
  if (deadline_ != impl::clock::time_point::max()) impl_.loop_->timers().arm(*this, deadline_);
  impl_.line_.add(*this);
  if (token_.stop_possible()) {
    stop_.emplace(token_, impl::canceller{impl_.weak_from_this(), 0, ticket()});
  }
  impl_.serve_soon();  // room may have come before it was known that we wait for it
  return true;
}

client::waiting::tried client::waiting::attempt() {
  timeout_ = impl::left_until(deadline_);
  if (timeout_ <= std::chrono::nanoseconds::zero()) {
    leave_line();
    end({errc::timeout, "no room before the deadline", false});
    return tried::ended;
  }
  const tried how = try_start();
  if (how == tried::started || how == tried::ended) leave_line();
  return how;
}

void client::waiting::give_up(call_error why) {
  leave_line();
  end(std::move(why));
  coroutine_.resume();
}

void client::waiting::on_due(impl::clock::time_point) {
  give_up({errc::timeout, "no room before the deadline", false});
}

void client::waiting::leave_line() noexcept {
  impl_.line_.remove(*this);
  impl_.loop_->timers().cancel(*this);
}

void client::impl::serve_soon() {
  if (!line_.call()) return;
  loop_->post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->serve_line();
  });
}

void client::impl::serve_line() {
  if (!line_.serve() || std::exchange(line_at_desk_, true)) return;
  when_room({nullptr,
             [](void* context) {
               auto& self = *static_cast<impl*>(context);
               self.line_at_desk_ = false;
               self.serve_line();
             },
             this});
}

// --- one call -----------------------------------------------------------------------------------

client::waiting::tried client::operation::try_start() {
  if (filled_ == nullptr && bytes_.size() > impl_.core_.options().inline_limit) {
    bool later = false;
    auto copy = impl_.copy_of(bytes_, later);
    if (!copy) {
      lack_ = copy.error();
      if (later) return tried::no_memory;
      outcome_.emplace(impl_.refusal(lack_));
      return tried::ended;
    }
    copy_ = std::move(*copy);
    filled_ = &copy_;
  }
  completion done([this](const record_fields*, body&& content, call_error* why) {
    if (why != nullptr) {
      outcome_.emplace(std::move(*why));
    } else {
      outcome_.emplace(std::move(content));
    }
    call_ = 0;
    coroutine().resume();
  });
  // Before it is known: from then on the driver may end it, and us.
  const auto begun = [this](std::uint64_t call) {
    call_ = call;
    if (token_.stop_possible()) {
      stop_.emplace(token_, impl::canceller{impl_.weak_from_this(), call, ticket()});
    }
  };
  record_fields fields;
  fields.flags = flags_;
  fields.kind = record_kind::call;
  fields.function = function_.value;
  const tried how = filled_ != nullptr
                        ? impl_.try_start(fields, *filled_, done, timeout_, options_, begun, lack_)
                        : impl_.try_start(fields, bytes_, done, timeout_, options_, begun, lack_);
  if (how == tried::started) return how;
  call_ = 0;
  if (how == tried::ended) outcome_.emplace(impl_.refusal(lack_));
  return how;
}

call_error client::operation::refused(tried how) const {
  return how == tried::no_place ? impl_.too_many_calls() : impl_.refusal(lack_);
}

// --- tasks --------------------------------------------------------------------------------------

task<call_result> client::call_task(function_id function, std::span<const std::byte> argument,
                                    call_options options) {
  return await_call(impl_, function, argument, nullptr, 0, options, options.stop.token());
}
task<call_result> client::call_task(function_id function, ferry::loan argument,
                                    call_options options) {
  const auto with_loan = [](std::shared_ptr<impl> self, function_id to, ferry::loan filled,
                            call_options how, std::stop_token stop) -> task<call_result> {
    co_return co_await operation(*self, to, {}, &filled, 0, how, stop);
  };
  return with_loan(impl_, function, std::move(argument), options, options.stop.token());
}

task<call_result> client::await_call(std::shared_ptr<impl> self, function_id function,
                                     std::span<const std::byte> bytes, ferry::loan* filled,
                                     std::uint8_t flags, call_options options,
                                     std::stop_token stop) {
  co_return co_await operation(*self, function, bytes, filled, flags, options, stop);
}

// --- the number of a function -------------------------------------------------------------------

std::optional<result<function_id, call_error>> client::try_bind_in(impl& of,
                                                                   const method_key& method) {
  return of.try_bind(method);
}

task<result<function_id, call_error>> client::await_bind(std::shared_ptr<impl> self,
                                                         const method_key& method,
                                                         call_options& options,
                                                         const std::stop_token& stop) {
  binding told(*self, method, options, stop);
  const auto deadline =
      impl::from(impl::clock::now(), options.timeout.value_or(self->options_.timeout));
  auto bound = co_await told;
  options.timeout = impl::left_until(deadline);
  co_return bound;
}

}  // namespace ferry
