#include "engine/client/client.h"

#include "engine/client/client_impl.h"

namespace ferry {
namespace {

record_fields call_of(function_id function, std::uint8_t flags = 0) {
  record_fields fields;
  fields.flags = flags;
  fields.kind = record_kind::call;
  fields.function = function.value;
  return fields;
}

}  // namespace

client::client(std::shared_ptr<impl> state) noexcept : impl_(std::move(state)) {}
client::client(client&&) noexcept = default;
client& client::operator=(client&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
client::~client() {
  if (!impl_) return;
  impl_->leave_loop();
  impl::let_go(std::move(impl_));
}

result<client, call_error> client::attach(unique_fd socket, client_options options) {
  if (options.max_calls == 0 || options.max_calls > 65535) {
    return call_error{errc::bad_argument, "max_calls must be between 1 and 65535", false};
  }
  if (options.timeout <= options.timeout.zero() ||
      options.idle_timeout <= options.idle_timeout.zero()) {
    return call_error{errc::bad_argument,
                      "timeout and idle_timeout must be above 0; max() means none", false};
  }
  auto loop = options.loop ? options.loop->core() : nullptr;
  if (!loop) {
    auto own = loop_core::create(options.session.reactor);
    if (!own) return call_error{own.error().code, own.error().message(), false};
    loop = std::move(*own);
  }
  auto opened = session::open(std::move(socket), session_role::host, options.session, loop);
  if (!opened) return std::move(opened).error();
  auto made = std::make_shared<impl>(std::move(loop), std::move(*opened), std::move(options));
  if (auto joined = made->open(); !joined) {
    made->leave_loop();
    return call_error{joined.error().code, joined.error().message(), false};
  }
  return client(std::move(made));
}

result<function_id, call_error> client::function(std::string_view name, call_options options) {
  return impl_->function(name, options);
}
result<function_id, call_error> client::bind(const method_key& method, call_options& options,
                                             bool without_deadline) {
  return impl_->bind(method, options, without_deadline);
}
result<ferry::loan> client::loan(std::uint64_t size_bytes) {
  return impl_->core_.borrow(size_bytes);
}

// --- calls --------------------------------------------------------------------------------------

call_result client::call(function_id function, std::span<const std::byte> argument,
                         call_options options) {
  return impl_->call(call_of(function), argument, options);
}
call_result client::call(function_id function, ferry::loan argument, call_options options) {
  return impl_->call(call_of(function), argument, options);
}
call_result client::call(std::string_view function, std::span<const std::byte> argument,
                         call_options options) {
  return impl_->call_named(function, argument, std::move(options));
}
call_result client::call(std::string_view function, ferry::loan argument, call_options options) {
  return impl_->call_named(function, argument, std::move(options));
}
call_result client::call_filled(function_id function, std::span<const std::byte> bytes,
                                ferry::loan* filled, std::uint8_t flags,
                                const call_options& options) {
  if (filled != nullptr) return impl_->call(call_of(function, flags), *filled, options);
  return impl_->call(call_of(function, flags), bytes, options);
}

result<void, call_error> client::start(function_id function, std::span<const std::byte> bytes,
                                       ferry::loan* filled, std::uint8_t flags, completion&& done,
                                       const call_options& options) {
  if (options.stop.stop_requested()) return impl::cancelled(false);
  const auto begin = [&](completion& landed, auto&& begun) -> result<void, call_error> {
    auto started =
        filled != nullptr
            ? impl_->start_async(call_of(function, flags), *filled, landed, options, begun)
            : impl_->start_async(call_of(function, flags), bytes, landed, options, begun);
    if (!started) return std::move(started).error();
    return {};
  };
  if (!options.stop.stop_possible()) return begin(done, impl::nothing());
  // The stop callback lives as long as the call: the one thing that a call allocates for it.
  struct stoppable {
    completion done;
    std::optional<std::stop_callback<impl::canceller>> stop;
  };
  auto both = std::make_shared<stoppable>();
  both->done = std::move(done);
  completion landed([both](const record_fields* answer, body&& content, call_error* why) {
    both->stop.reset();
    both->done(answer, std::move(content), why);
  });
  return begin(landed, [&](std::uint64_t call) {
    both->stop.emplace(options.stop.token(), impl::canceller{impl_->weak_from_this(), call});
  });
}

// --- streams ------------------------------------------------------------------------------------

std::shared_ptr<stream_core> client::open_stream(const result<function_id, call_error>& function,
                                                 std::span<const std::byte> bytes,
                                                 ferry::loan* filled, std::uint8_t flags,
                                                 const call_options& options) {
  if (function) return impl_->open_stream(*function, bytes, filled, flags, options);
  auto refused = std::make_shared<stream_core>(*impl_, impl_, 0, options.window, stream_credit{},
                                               stream_credit{});
  refused->out.close(function.error());
  refused->in.finish(function.error());
  return refused;
}

std::chrono::nanoseconds client::idle(const call_options& options) const {
  return options.idle_timeout.value_or(impl_->options_.idle_timeout);
}
std::chrono::nanoseconds client::answer_time(const call_options& options) const {
  return options.timeout.value_or(impl_->options_.timeout);
}

stream<body> client::server_stream(std::string_view function, std::span<const std::byte> argument,
                                   call_options options) {
  return {open_stream(impl_->bind(function, options, no_deadline), argument, nullptr, wants_items,
                      options),
          idle(options), errc::internal};
}
ferry::upload<body, body> client::upload(std::string_view function, call_options options) {
  return {
      open_stream(impl_->bind(function, options, no_deadline), {}, nullptr, sends_items, options),
      idle(options), answer_time(options)};
}
bidi<body, body> client::open(std::string_view function, call_options options) {
  return {open_stream(impl_->bind(function, options, no_deadline), {}, nullptr,
                      sends_items | wants_items, options),
          idle(options)};
}

// --- the session --------------------------------------------------------------------------------

result<std::size_t, call_error> client::run_once(std::chrono::nanoseconds timeout) {
  return impl_->run_once(timeout);
}
int client::fd() { return impl_->loop_->fd(); }
result<std::chrono::nanoseconds, call_error> client::ping(call_options options) {
  return impl_->ping(options);
}
void client::close() noexcept {
  impl_->closed_.store(true, std::memory_order_relaxed);
  impl_->core_.close();
}
bool client::connected() const noexcept { return !impl_->core_.over(); }
std::uint32_t client::worker_pid() const noexcept { return impl_->core_.peer_pid(); }
const char* client::reactor_name() const noexcept { return impl_->loop_->reactor_name(); }
void client::trim() { impl_->core_.trim(true); }
loop client::loop() const { return ferry::loop(impl_->loop_); }

session_holdings client::holdings() const { return impl_->holdings(); }

client_stats client::stats() const {
  client_stats out{};
  out.calls_in_flight = impl_->calls_.in_flight();
  out.streams_open = impl_->streams_open();
  out.bodies_lent = impl_->core_.lent().outstanding();
  out.bytes_lent = impl_->core_.lent().outstanding_bytes();
  out.arena_bytes = impl_->core_.arena().stats().reserved_bytes;
  out.stale_answers = impl_->stale_.load(std::memory_order_relaxed);
  return out;
}

}  // namespace ferry
