#include "engine/client/client_impl.h"

namespace ferry {

std::shared_ptr<stream_core> client::impl::open_stream(function_id function,
                                                       std::span<const std::byte> bytes,
                                                       ferry::loan* filled, std::uint8_t flags,
                                                       const call_options& options) {
  stream_credit ours = (flags & sends_items) != 0 ? first_credit : stream_credit{};
  if (options.send_window != 0)
    ours.items = std::min<std::uint32_t>(ours.items, options.send_window);
  auto stream = std::make_shared<stream_core>(*this, shared_from_this(), 0, options.window,
                                              stream_credit{}, ours);
  const auto refuse = [&](call_error why) {
    stream->out.close(why);
    stream->in.finish(std::move(why));
    return stream;
  };
  if (options.stop.stop_requested()) return refuse(cancelled(false));
  if (options.idle_timeout.value_or(options_.idle_timeout) <= std::chrono::nanoseconds::zero()) {
    return refuse(no_idle_limit());
  }
  if (options.window.items == 0 || options.window.bytes == 0) {
    return refuse({errc::invalid_request, "a window lets at least 1 item and 1 byte come", false});
  }

  record_fields fields;
  fields.kind = record_kind::call;
  fields.function = function.value;
  fields.flags = flags;
  fields.code = options.send_window;
  completion done([stream](const record_fields* answer, body&& content, call_error* why) mutable {
    static_cast<impl&>(*stream->host).forget_stream(stream->call);
    if (why != nullptr) {
      stream->out.close(*why);
      return stream->in.finish(std::move(*why));
    }
    stream->out.close({errc::closed, "the call has ended", true, {}});
    if (answer->kind == record_kind::reply) stream->in.push_last(std::move(content));
    stream->in.finish(std::nullopt);
  });
  // The stream must be known before the worker's first item can come.
  const auto know = [&](std::uint64_t call) {
    stream->call = call;
    const std::lock_guard guard(streams_lock_);
    streams_.emplace(call, stream);
  };
  auto timeout = options.timeout.value_or(stream_core::no_limit);
  const auto deadline = after(timeout);
  const auto begin = [&](auto&& argument) {
    return start(fields, argument, std::move(done), deadline, timeout, options,
                 session_core::notice::now, know);
  };
  auto id = filled != nullptr ? begin(*filled) : begin(bytes);
  if (!id) {
    forget_stream(stream->call);
    return refuse(std::move(id).error());
  }
  calls_.stamp(*id, coarse_now());
  loop_->due(deadline);
  if (options.stop.stop_possible()) {
    stream->on_stop.emplace(options.stop.token(), canceller{weak_from_this(), *id});
  }
  if ((flags & wants_items) != 0) {
    if (const auto more = stream->in.owed()) send_small(credit_record(*id, *more));
  }
  return stream;
}

void client::impl::land_in_stream(const record_fields& fields, body&& content) {
  if (!last_stream_ || last_stream_->call != fields.call) {
    last_stream_ = stream_of(fields.call);
    if (!last_stream_) return;  // it has ended here
  }
  stream_core& stream = *last_stream_;
  switch (fields.kind) {
    case record_kind::item:
      if (!stream.in.push({std::move(content), fields.code, fields.flags})) {
        core_.fail(errc::corrupt, "an item beyond the window of its stream");
      }
      return;
    case record_kind::credit:
      if (!stream.out.grant(credit_of(fields))) {
        core_.fail(errc::corrupt, "a credit beyond all measure");
      }
      return;
    case record_kind::end:
      if ((fields.flags & reads_no_more) == 0) return stream.in.finish(std::nullopt);
      return stream.out.close({errc::closed, "the function reads no more", true, {}});
    default: stream.out.progress(clock::now()); return stream.in.progress(clock::now());
  }
}

std::shared_ptr<stream_core> client::impl::stream_of(std::uint64_t call) {
  const std::lock_guard guard(streams_lock_);
  const auto found = streams_.find(call);
  return found == streams_.end() ? nullptr : found->second;
}

void client::impl::forget_stream(std::uint64_t call) {
  std::shared_ptr<stream_core> gone;  // destroyed without the lock
  {
    const std::lock_guard guard(streams_lock_);
    const auto found = streams_.find(call);
    if (found == streams_.end()) return;
    gone = std::move(found->second);
    streams_.erase(found);
  }
  if (loop_->mine() && last_stream_ == gone) last_stream_.reset();
}

// --- stream_host --------------------------------------------------------------------------------

void client::impl::send_small(const record_fields& fields) {
  if (!room_.owes()) {
    const auto sent = core_.send(fields);
    if (sent || sent.error().code != errc::full) return;
  }
  room_.owe(fields);
  loop_->post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->serve_room();
  });
}

result<void> client::impl::send_item(const record_fields& fields, std::span<const std::byte> bytes,
                                     ferry::loan* filled, bool wait) {
  if (filled == nullptr && bytes.size() > core_.options().inline_limit) {
    auto copy = core_.borrow(bytes.size());
    if (!copy) return copy.error();
    std::memcpy(copy->data(), bytes.data(), bytes.size());
    return send_item(fields, {}, &*copy, wait);
  }
  const auto attempt = [&] {
    return filled != nullptr ? core_.send(fields, *filled) : core_.send(fields, bytes);
  };
  auto sent = attempt();
  if (sent || sent.error().code != errc::full || !wait) return sent;
  if (loop_->mine()) {
    return error{errc::invalid_request, 0, "no room, and a callback cannot wait for it: co_await"};
  }
  const auto room = drive_until(after(options_.timeout), stop_ref(), [&] {
    if (!calls_.holds(fields.call)) {  // cancelled, or ended by the function
      sent = error{errc::closed, 0, "the call has ended"};
      return true;
    }
    sent = attempt();
    return sent || sent.error().code != errc::full;
  });
  return room ? sent : room;
}

result<bool, call_error> client::impl::block(follower& me, std::chrono::nanoseconds limit) {
  if (loop_->mine()) return must_not_wait();
  return wait_until_arrived(me, limit, poll_batch);
}

void client::impl::give_up(std::uint64_t call, errc code) {
  abandon(call, code);
  forget_stream(call);
}

void client::impl::when_room(stream_waiter who) {
  room_.wait(who);
  loop_->post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->serve_room();
  });
}

void client::impl::forget_room(void* context) { room_.forget(context); }

}  // namespace ferry
