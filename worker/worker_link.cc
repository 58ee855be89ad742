#include "worker/worker_link.h"

#include <fmt/format.h>

#include <cstring>

#include "engine/stream/failure.h"
#include "shm/coarse_clock.h"

namespace ferry {

worker_link::worker_link(std::shared_ptr<loop_core> loop, std::unique_ptr<session> opened,
                         registry& functions)
    : loop_(std::move(loop)),
      session_(std::move(opened)),
      core_(session_->shared_core()),
      functions_(functions) {}

std::shared_ptr<worker_link> worker_link::make(std::shared_ptr<loop_core> loop,
                                               std::unique_ptr<session> opened,
                                               registry& functions) {
  std::shared_ptr<worker_link> made(new worker_link(std::move(loop), std::move(opened), functions));
  made->self_ = made;
  return made;
}

void worker_link::drop() {
  finish();
  std::unordered_set<std::shared_ptr<call_state>> left;
  left.swap(coroutines_);
  for (const auto& call : left) {
    call->coroutine = {};
    call->view.reset();
    if (call->function().options.concurrency != 0) call->function().active--;
  }
  for (const auto& call : left) start_waiting(call->function());  // of other hosts
  clear_buried();
  self_.reset();
}

// --- a turn -------------------------------------------------------------------------------------

std::size_t worker_link::turn() {
  if (room_.wanted()) [[unlikely]]
    serve_room();
  if (any_buried_.load(std::memory_order_relaxed)) [[unlikely]]
    clear_buried();
  if (functions_.inside == 0) functions_.forget_replaced();
  std::size_t done = functions_.inside == 0 && !deferred_.empty() ? run_deferred() : 0;
  stuck_ = room_.owed() >= max_owed;
  if (finished_) {
    // What lies there still is of a caller that is gone.
  } else if (!stuck_) {
    done += session_->poll(
        [this](const record_fields& fields, body&& content) { take(fields, std::move(content)); },
        poll_batch);
  } else if (session_->peer_gone()) {
    core_->fail(errc::unavailable, "the caller is gone");
  }
  if (core_->over() && !finished_) {
    finish();
    ++done;
  }
  return done;
}

bool worker_link::has_input() noexcept {
  if (finished_) return false;
  if (core_->over() || session_->peer_gone()) return true;
  if (stuck_) return session_->room_came();
  return session_->has_input() || (functions_.inside == 0 && !deferred_.empty());
}

void worker_link::finish() {
  if (std::exchange(finished_, true)) return;
  loop_->unwatch(core_->socket());
  deferred_.clear();
  last_.reset();
  std::unordered_map<std::uint64_t, std::shared_ptr<call_state>> left;
  {
    const std::lock_guard guard(states_mutex_);
    left.swap(states_);
  }
  for (const auto& [id, call] : left) call->cancel(errc::unavailable, "the caller is gone");
  core_->reclaim();
}

void worker_link::take(const record_fields& fields, body&& content) {
  if (finished_) [[unlikely]]
    return;  // inside the function of the record before
  switch (fields.kind) {
    [[likely]] case record_kind::call : return invoke(fields, std::move(content));
    case record_kind::resolve: return resolve(fields, content.text());
    case record_kind::bind: return bind(fields, content.text());
    case record_kind::cancel: {
      std::erase_if(deferred_,
                    [&](const deferred_call& each) { return each.fields.call == fields.call; });
      if (const auto call = state_of(fields.call)) {
        call->cancel(fields.code == static_cast<std::uint16_t>(errc::timeout) ? errc::timeout
                                                                              : errc::cancelled,
                     "the caller gave up");
      }
      return;
    }
    case record_kind::item:
    case record_kind::end:
    case record_kind::credit: return land_in_stream(fields, std::move(content));
    case record_kind::ping: {
      record_fields pong;
      pong.kind = record_kind::pong;
      pong.call = fields.call;
      return send_small(pong);
    }
    default: return core_->fail(errc::corrupt, "the host sent what only a worker sends");
  }
}

// --- functions ----------------------------------------------------------------------------------

void worker_link::resolve(const record_fields& fields, std::string_view name) {
  if (name.size() > longest_name) name = {};  // known to nobody
  const auto known = functions_.named(name);
  if (!known) {
    return refuse(fields.call, errc::function_not_found,
                  fmt::format("no function named '{}'", name));
  }
  record_fields answered;
  answered.kind = record_kind::reply;
  answered.call = fields.call;
  answered.function = known->number;
  (void)answer(answered, std::span<const std::byte>());
}

void worker_link::bind(const record_fields& fields, std::string_view name) {
  const std::uint32_t index = fields.function & ~host_number;
  if ((fields.function & host_number) == 0 || index != bound_.size() || index >= max_bound_names ||
      name.size() > longest_name) {
    return core_->fail(errc::corrupt, "a number for a function that cannot be");
  }
  bound_.push_back({std::string(name), functions_.named(name)});
}

void worker_link::invoke(const record_fields& fields, body&& content) {
  if ((fields.function & host_number) != 0) {
    const std::uint32_t index = fields.function & ~host_number;
    if (index < bound_.size()) {
      bound_name& bound = bound_[index];
      if (!bound.function) bound.function = functions_.named(bound.name);
      if (bound.function) return invoke_known(fields, bound.function->function, std::move(content));
      return refuse(fields.call, errc::function_not_found,
                    fmt::format("no function named '{}'", bound.name));
    }
  } else if (const auto* known = functions_.numbered(fields.function)) {
    return invoke_known(fields, (*known)->function, std::move(content));
  }
  refuse(fields.call, errc::function_not_found, "no function of that number");
}

void worker_link::invoke_known(const record_fields& fields,
                               const std::shared_ptr<const handler>& called, body&& content) {
  constexpr std::uint8_t streams = sends_items | wants_items;
  static constexpr std::uint8_t flags_of[] = {0, wants_items, sends_items, streams};
  static constexpr const char* kinds[] = {"takes one argument and gives one answer",
                                          "answers with a stream", "takes a stream",
                                          "takes a stream and answers with one"};
  const auto kind = static_cast<std::size_t>(called->kind);
  if ((fields.flags & streams) != flags_of[kind]) [[unlikely]] {
    return refuse(fields.call, errc::invalid_request,
                  fmt::format("the function '{}' {}", called->name, kinds[kind]));
  }
  const std::uint64_t left = fields.deadline_ns == 0 ? 0 : time_left(fields);
  if (left == 0 && fields.deadline_ns != 0) [[unlikely]] {
    return refuse(fields.call, errc::timeout, "its time was over before it began");
  }
  if (called->plain()) [[likely]] {
    if (functions_.inside != 0) [[unlikely]] {
      record_fields later = fields;
      later.deadline_ns = left;
      return put_off(later, std::move(content), nullptr);
    }
    // Kept alive, for it may be replaced while it waits inside. A copy costs two atomic operations,
    // so only the state takes one, when it is made.
    context call(self_, fields.call, called->name, left);
    call.handler_ = called.get();
    call.raw_argument_ = (fields.flags & raw_argument) != 0;
    return run(*called, call, std::move(content));
  }
  {
    const std::lock_guard guard(states_mutex_);
    // A coroutine that was cancelled may still run.
    if (std::max(states_.size(), coroutines_.size()) >= functions_.max_calls) {
      return refuse(fields.call, errc::overloaded, too_many);
    }
    if (states_.contains(fields.call)) {
      return core_->fail(errc::corrupt, "a call with the number of another one");
    }
  }
  auto call = std::make_shared<call_state>(shared_from_this(), fields.call, called);
  call->view = std::make_unique<context>(call->link(), 0, called->name, left);
  call->view->state_ = call.get();
  call->view->raw_argument_ = (fields.flags & raw_argument) != 0;
  if ((fields.flags & streams) != 0) {
    stream_window window = called->options.window;
    if (fields.code != 0) window.items = std::min<std::uint32_t>(window.items, fields.code);
    call->stream.emplace(*call, nullptr, fields.call, window,
                         (fields.flags & sends_items) != 0 ? first_credit : stream_credit{},
                         stream_credit{});
    call->stream->of_function = true;
    if ((fields.flags & sends_items) == 0) call->stream->in.finish(std::nullopt);
  }
  (void)remember(call);  // there is room: see above
  if (const auto deadline = call->view->deadline()) call->watch(*deadline);
  if (const auto more = call->stream ? call->stream->in.owed() : std::nullopt) {
    send_small(credit_record(fields.call, *more));
  }
  if (called->lane) {
    auto job = lane_job([call, content = std::make_unique<body>(std::move(content))]() mutable {
      begin_on_lane(call, std::move(*content));
    });
    auto submitted = functions_.lanes().submit(*called->lane, std::move(job));
    if (submitted) {
      call->ticket = *submitted;
      return;
    }
    (void)call->fail(errc::overloaded,
                     fmt::format("'{}' runs {} calls and {} wait, as many as it may", called->name,
                                 called->options.concurrency, called->options.queue_limit),
                     {}, false);
    return;
  }
  if (called->coroutine && called->options.concurrency != 0) {
    if (called->active >= called->options.concurrency) {
      if (called->waiting.size() >= called->options.queue_limit) {
        (void)call->fail(errc::overloaded,
                         fmt::format("'{}' runs {} calls and {} wait, as many as it may",
                                     called->name, called->active, called->waiting.size()),
                         {}, false);
        return;
      }
      called->waiting.push_back({std::move(call), std::move(content)});
      return;
    }
    called->active++;
  }
  if (!called->coroutine && functions_.inside != 0) {
    return put_off(fields, std::move(content), std::move(call));
  }
  begin(call, std::move(content));
}

void worker_link::begin_on_lane(const std::shared_ptr<call_state>& call, body&& content) {
  if (!call->ended()) {
    call->work_begins();
    run(call->function(), *call->view, std::move(content));
    call->work_ends();
  }
  call->view.reset();
}

void worker_link::begin(const std::shared_ptr<call_state>& call, body&& content) {
  run(call->function(), *call->view, std::move(content));
  if (!call->function().coroutine) call->view.reset();
}

void worker_link::run_coroutine(const std::shared_ptr<call_state>& call, task<> work) {
  const auto whole = [](std::shared_ptr<call_state> held, worker_link& link,
                        task<> inner) -> task<> {
    co_await std::move(inner);
    // Later: it destroys the frame that we are in.
    link.loop_->post([self = link.shared_from_this(), ended = std::move(held)] {
      self->coroutine_ended(ended);
    });
  };
  coroutines_.insert(call);
  call->coroutine = start(whole(call, *this, std::move(work)));
}

void worker_link::coroutine_ended(const std::shared_ptr<call_state>& call) {
  if (coroutines_.erase(call) == 0) return;  // the worker is gone
  call->coroutine = {};
  call->view.reset();
  const handler& function = call->function();
  if (function.options.concurrency == 0) return;
  function.active--;
  start_waiting(function);
}

// Calls that wait take the places that are free.
void worker_link::start_waiting(const handler& function) {
  while (!function.waiting.empty() && function.active < function.options.concurrency) {
    handler::waiting_call next = std::move(function.waiting.front());
    function.waiting.pop_front();
    if (next.call->ended()) continue;
    function.active++;
    begin(next.call, std::move(next.argument));
  }
}

void detail::start_coroutine(context& call, task<> work) {
  (*call.link_)->run_coroutine(call.state_->shared_from_this(), std::move(work));
}

void worker_link::run(const handler& function, context& call, body&& content) {
  try {
    function.run(call, std::move(content));
  } catch (const std::exception& problem) {
    (void)call.fail(errc::panic, problem.what());
  } catch (...) {
    (void)call.fail(errc::panic, "an exception that is no std::exception");
  }
}

// What is left of a call's time, from its own stamp where that means something; 0: nothing. The
// clock is coarse, so a tick of what it has waited may be its error.
std::uint64_t worker_link::time_left(const record_fields& call) const {
  if (call.spare == 0 || !core_->same_clock()) return call.deadline_ns;
  constexpr auto tick_ms =
      static_cast<std::int32_t>(coarse_tick / std::chrono::milliseconds(1)) + 1;
  const auto waited_ms = static_cast<std::int32_t>(coarse_ms() - call.spare) - tick_ms;
  if (waited_ms <= 0) return call.deadline_ns;
  const std::uint64_t waited_ns = static_cast<std::uint64_t>(waited_ms) * 1'000'000;
  return call.deadline_ns > waited_ns ? call.deadline_ns - waited_ns : 0;
}

// --- calls that live on -------------------------------------------------------------------------

bool worker_link::remember(std::shared_ptr<call_state> call) {
  const std::lock_guard guard(states_mutex_);
  if (states_.size() >= functions_.max_calls) return false;
  states_.insert_or_assign(call->id(), std::move(call));
  return true;
}

void worker_link::forget(call_state& call) {
  std::shared_ptr<call_state> gone;
  const std::lock_guard guard(states_mutex_);
  const auto found = states_.find(call.id());
  if (found == states_.end() || found->second.get() != &call) return;
  gone = std::move(found->second);
  states_.erase(found);
}

void worker_link::bury(std::unique_ptr<call_watch> watch) {
  const std::lock_guard guard(states_mutex_);
  buried_.push_back(std::move(watch));
  any_buried_.store(true, std::memory_order_relaxed);
}

void worker_link::clear_buried() {
  const std::lock_guard guard(states_mutex_);
  buried_.clear();
  any_buried_.store(false, std::memory_order_relaxed);
}

std::shared_ptr<call_state> worker_link::state_of(std::uint64_t call) {
  const std::lock_guard guard(states_mutex_);
  const auto found = states_.find(call);
  return found == states_.end() ? nullptr : found->second;
}

session_holdings worker_link::holdings() {
  std::vector<std::shared_ptr<call_state>> calls;
  {
    const std::lock_guard guard(states_mutex_);
    calls.reserve(states_.size());
    for (const auto& [id, call] : states_) calls.push_back(call);
  }
  session_holdings out;
  const auto now = clock::now();
  const auto age = [&](clock::time_point since) {
    return std::max(now - since, clock::duration::zero());
  };
  for (const auto& each : calls) {
    out.calls.push_back({each->function().name, age(each->came()),
                         each->stream ? each->stream->in.waiting() : 0u, each->stream.has_value()});
  }
  for (const auto& each : core_->lent().holdings()) {
    out.bodies.push_back({each.size_bytes, age(each.since)});
  }
  return out;
}

void worker_link::land_in_stream(const record_fields& fields, body&& content) {
  if (!last_ || last_->id() != fields.call) last_ = state_of(fields.call);
  if (!last_ || !last_->stream) return last_.reset();  // it has ended here
  stream_core& stream = *last_->stream;
  switch (fields.kind) {
    case record_kind::item:
      if (!stream.in.push({std::move(content), fields.code, fields.flags})) {
        core_->fail(errc::corrupt, "an item beyond the window of its stream");
      }
      break;
    case record_kind::end: stream.in.finish(std::nullopt); break;
    default:
      if (!stream.out.grant(credit_of(fields))) {
        core_->fail(errc::corrupt, "a credit beyond all measure");
      }
  }
  if (last_ && last_->ended()) last_.reset();
}

// --- answers ------------------------------------------------------------------------------------

void worker_link::refuse(std::uint64_t call, errc code, std::string_view text) {
  (void)fail(call, code, text, {}, false);
}

result<void> worker_link::fail(std::uint64_t call, errc code, std::string_view text,
                               std::span<const std::byte> detail, bool begun) {
  record_fields fields;
  fields.kind = record_kind::failure;
  fields.call = call;
  fields.code = static_cast<std::uint16_t>(code);
  if (!begun) fields.flags |= not_begun;
  const std::size_t room = core_->options().inline_limit;
  if (!detail.empty()) {
    std::byte small[512];
    value_writer writer(small);
    encode_failure(writer, text.substr(0, max_sent_text), detail);
    auto with_detail = fields;
    with_detail.flags |= has_detail;
    if (writer.bytes().size() <= room) return answer(with_detail, writer.bytes());
    if (auto lent = core_->borrow(writer.bytes().size())) {
      std::memcpy(lent->data(), writer.bytes().data(), writer.bytes().size());
      return answer(with_detail, *lent);
    }
    // No memory for it: the text says more than nothing.
  }
  return answer(fields, std::as_bytes(std::span(text.substr(0, std::min(room, max_sent_text)))));
}

result<void> worker_link::owe(const record_fields& fields, std::span<const std::byte> bytes) {
  loan copy;
  if (!bytes.empty()) {
    auto made = core_->borrow(bytes.size());
    if (!made) return made.error();
    std::memcpy(made->data(), bytes.data(), bytes.size());
    copy = std::move(*made);
  }
  return owe(fields, copy);
}

result<void> worker_link::owe(const record_fields& fields, loan& filled) {
  // Nobody may be reading the session just now, so look for its end ourselves.
  if (core_->peer_hung_up()) return error{errc::closed, 0, "the caller is gone"};
  room_.owe(fields, std::move(filled));
  if (loop_->mine()) {
    session_->want_room(true);
    loop_->activate(*this);
  } else {
    serve_room_soon();
  }
  return {};
}

void worker_link::send_small(const record_fields& fields) {
  (void)answer(fields, std::span<const std::byte>());
}

void worker_link::when_room(stream_waiter who) {
  room_.wait(who);
  serve_room_soon();
}

void worker_link::serve_room_soon() {
  // Weak: a job that is never run must not keep the loop alive, which holds it.
  loop_->post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->serve_room();
  });
}

void worker_link::forget_room(void* context) { room_.forget(context); }

}  // namespace ferry
