// Items that come one by one, and items that are sent one by one, for hosts and functions alike.
//
//   auto lines = host.server_stream(read_lines, path);   // or co_await lines.next()
//   while (auto line = lines.read()) {
//     if (!*line) break;                                 // the end
//     use(**line);
//   }
//
// Waiting   read() and write() block; next() and send() are awaited by coroutines; try_next() and
//           try_send() never wait. An item that is there is handed out without suspending.
// Idle      the time that one wait for an item may take. It counts only while somebody waits, and
//           starts again with every item and every progress() of the function.
// Errors    timeout (2001): idle for too long. unavailable (3001): the other side is gone, which
//           never looks like an end. cancelled (2002). The function's own codes. One error, then
//           the end for ever; only an error of a single item is followed by others. kind_of() sorts
//           them.
// Flow      what was sent and not read is bounded by the reader's window: a writer waits, nothing
//           is dropped.
// Threads   one at a time each; any, except that next() and send() belong on the driving thread.
// Lifetime  destroying either end of a host's stream cancels the call, unless it has ended.
// Source    engine/stream/README.md.
#pragma once
#include "engine/codec/travel.h"
#include "engine/stream/failure.h"
#include "engine/stream/operations.h"

namespace ferry {

inline call_error no_idle_limit() {
  return {errc::invalid_request, "an idle time-out is more than 0; max() is none", false, {}};
}

// `E`: the type of the function's own errors, which are the detail of what it ends with.
template <class T, class E = void>
class stream {
 public:
  using error_type = typename detail::method_error<E>::type;
  using next_result = result<std::optional<T>, error_type>;

  stream() = default;
  // `bad_item`: the code of an item that does not decode.
  stream(std::shared_ptr<stream_core> core, std::chrono::nanoseconds idle, errc bad_item) noexcept
      : core_(std::move(core)), idle_(idle), bad_item_(bad_item) {}
  stream(stream&&) noexcept = default;
  stream& operator=(stream&& other) noexcept {
    std::swap(core_, other.core_);
    std::swap(idle_, other.idle_);
    std::swap(bad_item_, other.bad_item_);
    std::swap(bad_, other.bad_);
    return *this;
  }
  ~stream() { cancel(); }

  // The next item, nullopt for the end, or an error.
  next_result read() {
    if (!core_) return std::optional<T>();
    return decoded(core_->read(idle_));
  }
  std::optional<next_result> try_next() {
    if (!core_) return next_result(std::optional<T>());
    auto next = core_->try_next();
    if (!next) return std::nullopt;
    return decoded(std::move(*next));
  }
  // Awaited: next_result.
  class next_item : public next_operation {
   public:
    explicit next_item(stream& of) : next_operation(of.core_, of.idle_), of_(&of) {}
    next_result await_resume() { return of_->decoded(next_operation::await_resume()); }

   private:
    stream* of_;
  };
  next_item next() { return next_item(*this); }
  // Set once an item did not decode; the stream has ended then.
  const std::optional<call_error>& bad_item() const noexcept { return bad_; }
  // Of the waits that begin from now on; max(): none.
  result<void, call_error> set_idle_timeout(std::chrono::nanoseconds limit) {
    if (limit <= std::chrono::nanoseconds::zero()) return no_idle_limit();
    idle_ = limit;
    return {};
  }
  // Ends the call, or of a function's input only the reading: the host's writer is told that nobody
  // reads. What still comes is dropped; whoever reads on hears `cancelled` once, then the end.
  // Idempotent.
  void cancel() noexcept {
    if (const auto core = core_) core->abandon(errc::cancelled, true);  // it may destroy us
  }

 private:
  next_result decoded(stream_core::next_result next) {
    if (!next) return detail::typed_failure<E>(std::move(next).error());
    if (!*next) return std::optional<T>();
    auto value = value_in<T>(std::move(**next));
    if (value) return std::optional<T>(std::move(*value));
    call_error why{bad_item_, "an item does not decode: " + value.error().message(), true, {}};
    bad_ = why;
    const auto core = core_;
    core->abandon(errc::cancelled);
    return detail::typed_failure<E>(std::move(why));
  }

  std::shared_ptr<stream_core> core_;
  std::chrono::nanoseconds idle_ = stream_core::no_limit;
  errc bad_item_ = errc::internal;
  std::optional<call_error> bad_;
};

// What may be sent as an item of type T: for `body`, whatever is bytes; a loan is handed over.
template <class T, class U>
inline constexpr bool sends_as =
    std::is_same_v<T, body> ? travels_raw<std::decay_t<U>> : std::is_constructible_v<T, U>;
// What is kept of it while it waits.
template <class T, class U>
using sent_as = std::conditional_t<std::is_same_v<T, body>, std::decay_t<U>, T>;

// Where items are sent to. A function's sink ends with the function.
template <class T>
class sink {
 public:
  sink() = default;
  sink(std::shared_ptr<stream_core> core, std::chrono::nanoseconds idle) noexcept
      : core_(std::move(core)), idle_(idle) {}

  // Blocks until the reader has room for it.
  template <class U>
  requires(sends_as<T, U>) result<void, call_error> write(U&& item) {
    sent_as<T, U> sent(std::forward<U>(item));
    return with_bytes(sent, [&](std::span<const std::byte> bytes, loan* filled) {
      return core_->write({bytes, filled}, idle_);
    });
  }
  // An error in place of one item; the stream goes on. Blocks as write().
  result<void, call_error> write_error(errc code, std::string_view text) {
    return core_->write({std::as_bytes(std::span(text)), nullptr, code}, idle_);
  }
  // False: no room now, and the item is still the caller's. An error: nobody reads any more.
  template <class U>
  requires(sends_as<T, U>) result<bool, call_error> try_send(U& item) {
    const auto attempt = [&](std::span<const std::byte> bytes, loan* filled) {
      return core_->try_write({bytes, filled}, false);
    };
    if constexpr (std::is_same_v<sent_as<T, U>, std::decay_t<U>>) {
      return with_bytes(item, attempt);
    } else {
      sent_as<T, U> sent(item);
      return with_bytes(sent, attempt);
    }
  }
  // Awaited: result<void, call_error>.
  template <class U>
  requires(sends_as<T, U>) auto send(U&& item) {
    return operation<sent_as<T, U>>(core_, std::forward<U>(item), idle_);
  }
  // The same, of an error in place of one item.
  auto send_error(errc code, std::string text) {
    struct error_operation {
      error_operation(const std::shared_ptr<stream_core>& core, errc why, std::string&& said,
                      std::chrono::nanoseconds idle)
          : text(std::move(said)),
            send(core, {std::as_bytes(std::span(text)), nullptr, why}, idle) {}
      error_operation(const error_operation&) = delete;
      bool await_ready() { return send.await_ready(); }
      bool await_suspend(std::coroutine_handle<> waiting) { return send.await_suspend(waiting); }
      result<void, call_error> await_resume() { return send.await_resume(); }
      std::string text;
      send_operation send;
    };
    return error_operation(core_, code, std::move(text), idle_);
  }
  // Memory for a raw item, to be filled in place.
  result<loan> borrow(std::uint64_t size_bytes) { return core_->host->borrow(size_bytes); }
  // No more items: the reader sees the end, while what comes the other way goes on.
  void close() { core_->end_writing(); }

 private:
  // The encoded item lies in the coroutine's frame while it waits.
  template <class Sent>
  class operation {
   public:
    template <class U>
    operation(const std::shared_ptr<stream_core>& core, U&& item, std::chrono::nanoseconds idle)
        : item_(std::forward<U>(item)) {
      if constexpr (std::is_same_v<Sent, loan>) {
        send_.emplace(core, stream_core::outgoing{{}, &item_}, idle);
      } else if constexpr (std::is_same_v<Sent, body>) {
        send_.emplace(core, stream_core::outgoing{item_.bytes()}, idle);
      } else if constexpr (travels_raw<Sent>) {
        send_.emplace(core, stream_core::outgoing{std::span<const std::byte>(item_)}, idle);
      } else {
        encode(writer_, item_);
        send_.emplace(core, stream_core::outgoing{writer_.bytes()}, idle);
      }
    }
    operation(const operation&) = delete;
    bool await_ready() { return send_->await_ready(); }
    bool await_suspend(std::coroutine_handle<> waiting) { return send_->await_suspend(waiting); }
    result<void, call_error> await_resume() { return send_->await_resume(); }

   private:
    Sent item_;
    std::byte small_[256];
    value_writer writer_{small_};
    std::optional<send_operation> send_;
  };

  template <class Req, class Resp, class E>
  friend class upload;
  std::shared_ptr<stream_core> core_;
  std::chrono::nanoseconds idle_ = stream_core::no_limit;
};

// A call that sends items and gets one answer.
template <class Req, class Resp, class E = void>
class upload {
 public:
  using finish_result = result<Resp, typename stream<Resp, E>::error_type>;

  upload(std::shared_ptr<stream_core> core, std::chrono::nanoseconds idle,
         std::chrono::nanoseconds answer)
      : items_(core, idle), answer_(std::move(core), answer, errc::internal) {}

  template <class U = Req>
  result<void, call_error> write(U&& item) {
    return items_.write(std::forward<U>(item));
  }
  template <class U>
  result<bool, call_error> try_send(U& item) {
    return items_.try_send(item);
  }
  template <class U = Req>
  auto send(U&& item) {
    return items_.send(std::forward<U>(item));
  }
  result<loan> borrow(std::uint64_t size_bytes) { return items_.borrow(size_bytes); }

  // No more items; waits for the answer.
  finish_result finish() {
    items_.close();
    return only(answer_.read());
  }
  // Awaited: finish_result.
  auto finished() {
    items_.close();
    using waiting = typename stream<Resp, E>::next_item;
    struct operation : waiting {
      explicit operation(upload& of) : waiting(of.answer_), self(&of) {}
      finish_result await_resume() { return self->only(waiting::await_resume()); }
      upload* self;
    };
    return operation(*this);
  }
  void abort() noexcept { answer_.cancel(); }

 private:
  finish_result only(typename stream<Resp, E>::next_result next) const {
    if (!next) return std::move(next).error();
    if (*next) return std::move(**next);
    call_error why{errc::internal, "the call ended without an answer", true, {}};
    if (!items_.core_->out.open()) {  // a write may have told already, and ended it
      if (auto told = items_.core_->out.why(); told.code != errc::closed) why = std::move(told);
    }
    return detail::typed_failure<E>(std::move(why));
  }
  sink<Req> items_;
  stream<Resp, E> answer_;
};

// Items both ways, each at its own pace.
template <class Req, class Resp, class E = void>
class bidi {
 public:
  bidi(std::shared_ptr<stream_core> core, std::chrono::nanoseconds idle)
      : items_(core, stream_core::no_limit), responses_(std::move(core), idle, errc::internal) {}

  template <class U = Req>
  result<void, call_error> write(U&& item) {
    return items_.write(std::forward<U>(item));
  }
  template <class U>
  result<bool, call_error> try_send(U& item) {
    return items_.try_send(item);
  }
  template <class U = Req>
  auto send(U&& item) {
    return items_.send(std::forward<U>(item));
  }
  result<loan> borrow(std::uint64_t size_bytes) { return items_.borrow(size_bytes); }
  void close_send() { items_.close(); }
  stream<Resp, E>& responses() noexcept { return responses_; }
  // Ends both directions. Idempotent; the destructor does it too.
  void abort() noexcept { responses_.cancel(); }

 private:
  sink<Req> items_;
  stream<Resp, E> responses_;
};

}  // namespace ferry
