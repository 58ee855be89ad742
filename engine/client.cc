#include "engine/client.h"

#include "engine/client_impl.h"

namespace ferry {

client::client(std::shared_ptr<impl> state) noexcept : impl_(std::move(state)) {}
client::client(client&&) noexcept = default;
client& client::operator=(client&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
client::~client() {
  if (impl_) impl_->leave_loop();
}

result<client, call_error> client::attach(unique_fd socket, client_options options) {
  if (options.max_calls == 0 || options.max_calls > 65535) {
    return call_error{errc::bad_argument, "max_calls must be between 1 and 65535", false};
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

result<ferry::loan> client::loan(std::uint64_t size_bytes) {
  return impl_->core_.borrow(size_bytes);
}

namespace {
record_fields call_of(function_id function) {
  record_fields fields;
  fields.kind = record_kind::call;
  fields.function = function.value;
  return fields;
}
}  // namespace

call_result client::call(function_id function, std::span<const std::byte> argument,
                         call_options options) {
  return impl_->call(call_of(function), argument, options);
}
call_result client::call(function_id function, ferry::loan argument, call_options options) {
  return impl_->call(call_of(function), argument, options);
}
call_result client::call(std::string_view function, std::span<const std::byte> argument,
                         call_options options) {
  const auto id = impl_->function(function, options);
  if (!id) return id.error();
  return impl_->call(call_of(*id), argument, options);
}
call_result client::call(std::string_view function, ferry::loan argument, call_options options) {
  const auto id = impl_->function(function, options);
  if (!id) return id.error();
  return impl_->call(call_of(*id), argument, options);
}

result<void, call_error> client::start(function_id function, std::span<const std::byte> argument,
                                       completion done, call_options options) {
  return impl_->start_async(call_of(function), argument, std::move(done), options);
}
result<void, call_error> client::start(function_id function, ferry::loan argument, completion done,
                                       call_options options) {
  return impl_->start_async(call_of(function), argument, std::move(done), options);
}

result<std::size_t, call_error> client::run_once(std::chrono::nanoseconds timeout) {
  return impl_->run_once(timeout);
}
int client::fd() { return impl_->loop_->fd(); }
void client::close() noexcept {
  impl_->closed_.store(true, std::memory_order_relaxed);
  impl_->core_.close();
}
bool client::connected() const noexcept { return !impl_->core_.over(); }
std::uint32_t client::worker_pid() const noexcept { return impl_->core_.peer_pid(); }
const char* client::reactor_name() const noexcept { return impl_->loop_->reactor_name(); }
void client::trim() { impl_->core_.trim(true); }

client_stats client::stats() const {
  client_stats out{};
  out.calls_in_flight = impl_->calls_.in_flight();
  out.bodies_lent = impl_->core_.lent().outstanding();
  out.bytes_lent = impl_->core_.lent().outstanding_bytes();
  out.arena_bytes = impl_->core_.arena().stats().reserved_bytes;
  out.stale_answers = impl_->stale_.load(std::memory_order_relaxed);
  return out;
}

}  // namespace ferry
