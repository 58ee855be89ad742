#include <cstring>

#include "engine/client/client_impl.h"

namespace ferry {

client::impl::impl(std::shared_ptr<loop_core> loop, std::unique_ptr<session> session,
                   client_options options)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      session_(std::move(session)),
      core_(session_->core()),
      calls_(options_.max_calls) {}

result<void> client::impl::open() {
  const wheel_guard wheel(*loop_);
  loop_->add(*this);
  return loop_->watch(*this, core_.socket(), 0);
}

void client::impl::leave_loop() {
  closed_.store(true, std::memory_order_relaxed);
  core_.close();
  if (core_.forked()) return;  // the loop is the parent's too, and perhaps nobody's to leave
  const wheel_guard wheel(*loop_);
  finish();
  last_stream_.reset();
  loop_->remove(*this);
}

// A run_once on the stack of this thread, which uses the client again when the callbacks have run.
struct client::impl::running {
  explicit running(impl& of) noexcept : self(&of), outer(innermost()) { innermost() = this; }
  ~running() { innermost() = outer; }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
  static running*& innermost() noexcept {
    static constinit thread_local running* top = nullptr;
    return top;
  }

  impl* self;
  running* outer;
  std::shared_ptr<impl> last;  // of a client that went meanwhile
};

void client::impl::let_go(std::shared_ptr<impl> last) {
  loop_core& loop = *last->loop_;
  if (loop.forked() || !loop.mine()) return;
  running* here = running::innermost();
  while (here != nullptr && here->self != last.get()) here = here->outer;
  if (here != nullptr) {
    here->last = std::move(last);
  } else if (last->inside_ != 0) {
    impl& self = *last;
    self.last_ = std::move(last);
  } else {
    loop.bury(std::move(last));
  }
}

// --- a turn -------------------------------------------------------------------------------------

std::size_t client::impl::turn() {
  const turning here(*this);
  const std::uint64_t before = ended();
  const std::size_t came = poll();
  core_.collect_returns();
  if (room_.wanted()) [[unlikely]]
    serve_room();
  if (calls_.next_deadline() != clock::time_point::max()) expire(coarse_now());
  if (core_.over() && !finished_) {
    finish();
    return came + 1;  // worth telling, also if no call was in flight
  }
  return came + (ended() - before);
}

std::size_t client::impl::tick(clock::time_point now) {
  const turning here(*this);
  const std::uint64_t before = ended();
  expire(now);
  core_.trim(false);
  return ended() - before;
}

void client::impl::land_other(const record_fields& fields, body&& content) {
  switch (fields.kind) {
    case record_kind::failure: {
      const bool known = calls_.end_driving(fields.call, [&](completion& done) {
        count_ended();
        call_error why = failure_in(fields.code, fields.flags, content.bytes());
        done(&fields, body(), &why);
      });
      if (!known) stale_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    case record_kind::end:
      if ((fields.flags & call_goes_on) != 0) return land_in_stream(fields, std::move(content));
      [[fallthrough]];
    case record_kind::pong: {
      const bool known = calls_.end_driving(fields.call, [&](completion& done) {
        count_ended();
        done(&fields, body(), nullptr);
      });
      if (!known) stale_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    case record_kind::item:
    case record_kind::credit:
    case record_kind::progress: return land_in_stream(fields, std::move(content));
    default: return core_.fail(errc::corrupt, "the worker sent what only a host sends");
  }
}

void client::impl::expire(clock::time_point now) {
  if (now < calls_.next_deadline()) return;
  calls_.end_expired(now, [this](std::uint64_t call, completion& done) {
    count_ended();
    give_notice(call, errc::timeout);
    call_error why = timed_out();
    done(nullptr, body(), &why);
  });
}

void client::impl::finish() {
  if (!std::exchange(finished_, true)) loop_->unwatch(core_.socket());
  end_all();
}

void client::impl::end_all() {
  core_.reclaim();
  calls_.end_all([this](std::uint64_t, completion& done) {
    count_ended();
    call_error why = over_error(true);
    done(nullptr, body(), &why);
  });
  line_.end_all(over_error(false));
}

bool client::impl::wait_in_crowd(follower& me) {
  if (core_.options().wait.mode == wait_mode::block) return false;
  driver& wheel = loop_->wheel();
  wheel.join_crowd();
  const std::uint32_t looks = crowd_looks_.load(std::memory_order_relaxed);
  bool arrived = me.arrived();
  std::uint64_t seen = ended() - 1;
  for (std::uint32_t look = 0; !arrived && look < looks; ++look) {
    // As long as calls end, somebody drives.
    if (const auto now = ended(); now != seen) {
      seen = now;
    } else if (loop_->try_take()) {
      loop_->activate(*this);
      here_ = &me;
      loop_->alone() ? poll() : loop_->turn();
      here_ = nullptr;
      loop_->leave();
      if ((arrived = me.arrived())) break;
    }
    ::sched_yield();
    arrived = me.arrived();
  }
  wheel.leave_crowd();
  const std::uint32_t next = arrived ? most_crowd_looks : std::max(looks / 2, 1u);
  if (next != looks) crowd_looks_.store(next, std::memory_order_relaxed);
  return arrived;
}

// Or until another thread wants the wheel.
void client::impl::drive_until_arrived(follower& me, clock::time_point deadline) {
  for (;;) {
    const std::size_t landed = loop_->alone() && !loop_->has_posts() ? poll() : loop_->turn();
    if (me.arrived()) return;
    if (core_.over()) return finish();
    if (landed != 0) {
      // Also a flood of answers to nobody must not carry us past a deadline.
      if (++turns_ % 64 != 0) continue;
      const auto now = clock::now();
      loop_->serve_due(now);
      if (me.arrived() || now >= deadline) return;
      if (loop_->wanted()) return;
      continue;
    }
    if (loop_->wanted()) return;
    const woke how = loop_->wait(deadline);
    if (loop_->has_posts() || room_.wanted()) loop_->turn();
    if (how == woke::timeout) {
      const auto now = clock::now();
      loop_->serve_due(now);
      if (me.arrived() || now >= deadline) return;
    }
  }
}

result<std::size_t, call_error> client::impl::run_once(std::chrono::nanoseconds timeout) {
  running here(*this);
  const std::uint64_t before = ended();
  if (core_.forked()) return core_.failure();
  if (core_.over()) timeout = {};
  if (auto ran = loop_->run_once(timeout); !ran) {
    return call_error{ran.error().code, ran.error().message(), false};
  }
  const std::uint64_t count = ended() - before;
  if (count == 0 && core_.over()) return over_error(false);
  return static_cast<std::size_t>(count);
}

// --- room ---------------------------------------------------------------------------------------

result<ferry::loan> client::impl::copy_of(std::span<const std::byte> bytes, bool& later) {
  const bool lent = core_.lent().outstanding() != 0;
  auto copy = core_.borrow(bytes.size());
  later = false;
  if (copy) {
    std::memcpy(copy->data(), bytes.data(), bytes.size());
  } else if (copy.error().code == errc::no_memory || copy.error().code == errc::limit) {
    later = lent && bytes.size() <= core_.options().arena.quota_bytes;
  }
  return copy;
}

result<ferry::loan> client::impl::copy_for_call(std::span<const std::byte> bytes,
                                                std::chrono::nanoseconds& timeout,
                                                const call_options& options) {
  bool later = false;
  auto copy = copy_of(bytes, later);
  if (copy || !later || !options.wait_for_room || loop_->mine()) return copy;
  const auto deadline = from(clock::now(), timeout);
  const auto room = drive_until(deadline, options.stop, [&] {
    copy = copy_of(bytes, later);
    return copy || !later;
  });
  timeout = left_until(deadline);
  if (!room) return room.error();
  return copy;
}

// --- giving up ----------------------------------------------------------------------------------

void client::impl::canceller::operator()() const noexcept {
  const auto client = self.lock();
  if (!client) return;
  client->loop_->post([held = self, id = call, waits = ticket] {
    if (const auto still = held.lock()) still->cancel_here(id, waits);
  });
}

void client::impl::cancel_here(std::uint64_t call, std::uint64_t ticket) {
  if (auto* const waiting = ticket != 0 ? line_.find(ticket) : nullptr) {
    return waiting_line::give_up(*waiting, cancelled(false));
  }
  calls_.end(call, [&](completion& done) {
    count_ended();
    give_notice(call, errc::cancelled);
    call_error why = cancelled(true);
    done(nullptr, body(), &why);
  });
}

bool client::impl::abandon(std::uint64_t call, errc code) {
  if (!calls_.end(call, [](completion&) {})) return false;
  serve_soon();
  give_notice(call, code);
  return true;
}

void client::impl::give_notice(std::uint64_t call, errc code) {
  if (core_.over()) return;
  record_fields fields;
  fields.kind = record_kind::cancel;
  fields.call = call;
  fields.code = static_cast<std::uint16_t>(code);
  send_small(fields);
}

// --- names --------------------------------------------------------------------------------------

std::optional<function_id> client::impl::known_number(std::string_view name) {
  const std::shared_lock guard(names_mutex_);
  const auto known = names_.find(name);
  return known != names_.end() ? std::optional(known->second) : std::nullopt;
}

result<function_id, call_error> client::impl::function(std::string_view name,
                                                       const call_options& options) {
  if (const auto known = known_number(name)) return *known;
  if (name.empty()) return call_error{errc::invalid_request, "a function has no empty name", false};
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

std::optional<result<function_id, call_error>> client::impl::try_bind(const method_key& method) {
  const std::uint32_t slot = method.slot();
  if (slot < slot_cache) {
    // acquire: pairs with the release below; the worker was told before.
    const std::uint32_t known = bound_slots_[slot].load(std::memory_order_acquire);
    if (known != 0) return function_id{known};
  }
  auto bound = try_bind(method.name());
  if (bound && *bound && slot < slot_cache) {
    bound_slots_[slot].store((*bound)->value, std::memory_order_release);
  }
  return bound;
}

std::optional<result<function_id, call_error>> client::impl::try_bind(std::string_view name) {
  {
    const std::shared_lock guard(names_mutex_);
    if (const auto known = bound_names_.find(name); known != bound_names_.end()) {
      return known->second;
    }
  }
  if (name.empty() || name.size() > core_.options().inline_limit) {
    return call_error{errc::function_not_found, "a function name of that length", false};
  }
  const std::unique_lock guard(names_mutex_);  // numbers leave in the order of their choice
  if (const auto known = bound_names_.find(name); known != bound_names_.end()) {
    return known->second;
  }
  if (bound_names_.size() == max_bound_names) {
    return call_error{errc::overloaded,
                      fmt::format("{} names are in use, as many as one client may call by name: "
                                  "ask for the number of further ones with function()",
                                  max_bound_names),
                      false};
  }
  record_fields fields;
  fields.kind = record_kind::bind;
  fields.function = first_bound + static_cast<std::uint32_t>(bound_names_.size());
  const auto sent = core_.send(fields, std::as_bytes(std::span(name)));
  if (sent) {
    return bound_names_.emplace(std::string(name), function_id{fields.function}).first->second;
  }
  if (sent.error().code == errc::full) return std::nullopt;
  return refusal(sent.error());
}

result<function_id, call_error> client::impl::bind(const method_key& method, call_options& options,
                                                   bool without_deadline) {
  if (auto bound = try_bind(method)) return std::move(*bound);
  return bind(method.name(), options, without_deadline);
}

result<function_id, call_error> client::impl::bind(std::string_view name, call_options& options,
                                                   bool without_deadline) {
  if (auto bound = try_bind(name)) return std::move(*bound);
  if (!options.wait_for_room) return refusal({errc::full, 0, "no room to name the function"});
  const auto deadline = from(clock::now(), options.timeout.value_or(options_.timeout));
  for (;;) {
    // Without the lock: whoever makes room runs callbacks, which may bind names too.
    const auto room = drive_until(deadline, options.stop, [&] { return core_.has_room(); });
    if (!room) return refusal(room.error());
    if (options.timeout || !without_deadline) options.timeout = left_until(deadline);
    if (auto bound = try_bind(name)) return std::move(*bound);
  }
}

result<std::chrono::nanoseconds, call_error> client::impl::ping(const call_options& options) {
  record_fields fields;
  fields.kind = record_kind::ping;
  const auto began = clock::now();
  auto answer = call(fields, std::span<const std::byte>(), options);
  if (!answer) return std::move(answer).error();
  return std::chrono::nanoseconds(clock::now() - began);
}

session_holdings client::impl::holdings() {
  std::unordered_map<std::uint32_t, std::string> names;
  {
    const std::shared_lock guard(names_mutex_);
    for (const auto* known : {&names_, &bound_names_}) {
      for (const auto& [name, number] : *known) names.emplace(number.value, name);
    }
  }
  session_holdings out;
  const auto now = clock::now();
  const auto age = [&](clock::time_point began) {
    return began == clock::time_point() || began > now ? std::chrono::nanoseconds(0) : now - began;
  };
  calls_.each_in_flight([&](std::uint64_t id, std::uint32_t function, clock::time_point began) {
    const auto stream = stream_of(id);
    out.calls.push_back(
        {names[function], age(began), stream ? stream->in.waiting() : 0u, stream != nullptr});
  });
  for (const auto& each : core_.lent().holdings()) {
    out.bodies.push_back({each.size_bytes, age(each.since)});
  }
  return out;
}

// --- why not ------------------------------------------------------------------------------------

call_error client::impl::over_error(bool maybe_executed) const {
  call_error why = core_.failure();
  if (core_.forked()) return why;
  // To a caller every end but its own close() is a worker that is not there any more.
  if (!closed_.load(std::memory_order_relaxed) && why.code != errc::unavailable) {
    why = {errc::unavailable, "the session ended: " + why.message(), false};
  }
  why.maybe_executed = maybe_executed;
  return why;
}

call_error client::impl::refusal(const error& why) const {
  if (core_.over()) return over_error(false);
  switch (why.code) {
    case errc::full:
    case errc::no_memory:
    case errc::limit: return {errc::overloaded, why.message(), false};
    case errc::bad_argument: return {errc::invalid_request, why.message(), false};
    default: return {why.code, why.message(), false};
  }
}

call_error client::impl::too_many_calls() const {
  return {errc::overloaded,
          fmt::format("{} calls are in flight, as many as max_calls allows", options_.max_calls),
          false};
}

}  // namespace ferry
