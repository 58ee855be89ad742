// One call, as its function sees it: who calls, how long there is, and the way to answer.
// Threads   context: the thread that runs the function. responder: any thread, one at a time.
// Lifetime  a context ends with its function; a responder lives until it has answered, also after
//           the session ended (then its answer goes nowhere).
// Errors    reply and fail give invalid_request for a second answer, closed when the caller is
//           gone, and whatever borrow gives. A call that is never answered is answered for you:
//           2000 when its function returns, or when its responder goes.
// Source    worker/README.md.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/body.h"
#include "shm/result.h"

namespace ferry {

class worker_session;

// The right, and the duty, to answer one call exactly once.
class responder {
 public:
  responder() = default;
  responder(std::shared_ptr<worker_session> session, std::uint64_t call) noexcept;
  responder(responder&&) noexcept;
  responder& operator=(responder&&) noexcept;
  ~responder();

  // Memory for an answer, to be filled in place.
  result<loan> borrow(std::uint64_t size_bytes);
  result<void> reply(std::span<const std::byte> answer);  // copies
  result<void> reply(std::string_view answer);            // copies
  result<void> reply(loan answer);                        // hands over
  result<void> fail(errc code, std::string_view text);    // codes: see shm/error.h
  bool answered() const noexcept { return call_ == 0; }

 private:
  std::shared_ptr<worker_session> session_;
  std::uint64_t call_ = 0;  // 0: answered, or never had one
};

class context {
 public:
  context(const std::shared_ptr<worker_session>& session, std::uint64_t call,
          std::string_view function, std::uint64_t left_ns) noexcept;
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

  std::string_view function() const noexcept { return function_; }
  // When the caller gives up, to within a scheduler tick (up to 10 ms early); nullopt: never.
  std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept;

  result<loan> borrow(std::uint64_t size_bytes);
  result<void> reply(std::span<const std::byte> answer);
  result<void> reply(std::string_view answer);
  result<void> reply(loan answer);
  result<void> fail(errc code, std::string_view text);
  bool answered() const noexcept { return call_ == 0; }

  // Takes the answer along, to give it later and out of order, from any thread.
  responder defer() noexcept;

 private:
  const std::shared_ptr<worker_session>* session_;  // the worker's: outlives the call
  std::uint64_t call_;                              // 0: answered or deferred
  std::string_view function_;
  std::uint64_t left_ns_;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace ferry
