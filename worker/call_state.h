// A call that lives longer than its record: streamed, deferred, run by a coroutine or on a lane.
// Threads   answers: any thread. cancel, on_due, streams' records: the thread that serves.
// Lifetime  shared by the link, until the call has ended, and by whoever works on it.
// Source    worker/README.md, "Calls".
#pragma once
#include <atomic>

#include "engine/coro/task.h"
#include "engine/stream/stream_core.h"
#include "worker/handler.h"

namespace ferry {

class worker_link;
class call_state;

// The worker's own look at the deadline of a call, for a caller that does not look. Apart from the
// call, which may end and go on any thread, while a timer is the loop's.
class call_watch final : public timer_entry {
 public:
  explicit call_watch(std::weak_ptr<call_state> call) noexcept : call_(std::move(call)) {}

 private:
  void on_due(time_point now) override;
  std::weak_ptr<call_state> call_;
};

class call_state final : public stream_host, public std::enable_shared_from_this<call_state> {
 public:
  using clock = std::chrono::steady_clock;

  call_state(std::shared_ptr<worker_link> session, std::uint64_t call,
             std::shared_ptr<const handler> function);
  ~call_state() override;

  std::uint64_t id() const noexcept { return call_; }
  const handler& function() const noexcept { return *function_; }
  clock::time_point came() const noexcept { return came_; }  // as exact as a scheduler tick
  bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }
  std::stop_token stop_token() const { return stop_.get_token(); }
  const std::shared_ptr<worker_link>& link() const noexcept { return link_; }

  // --- answering: the first outcome counts; later ones get invalid_request or closed -------------
  // Of a function that answers with a stream it is the end of that.
  result<void> reply(std::span<const std::byte> answer);
  result<void> reply(loan answer);
  result<void> fail(errc code, std::string_view text, std::span<const std::byte> detail = {},
                    bool begun = true);
  result<loan> borrow(std::uint64_t size_bytes) override;

  // --- the thread that serves -------------------------------------------------------------------
  void watch(clock::time_point deadline);
  // The caller gave up, or is gone: the function is told, nothing more is sent.
  void cancel(errc code, const char* text);
  std::optional<stream_core> stream;  // of a function that streams
  spawned coroutine;
  std::optional<lanes::ticket> ticket;  // of a call that waits in a lane
  std::unique_ptr<context> view;        // what the function sees

  // --- the thread of a lane that runs the function ----------------------------------------------
  void work_begins() noexcept {
    here_ = this;
    works_on_ = loop().work_begins();
  }
  void work_ends() {
    here_ = nullptr;
    loop().work_ends(works_on_);
  }

  // --- stream_host ------------------------------------------------------------------------------
  void send_small(const record_fields& fields) override;
  result<void> send_item(const record_fields& fields, std::span<const std::byte> bytes,
                         loan* filled, bool wait) override;
  result<bool, call_error> block(follower& me, std::chrono::nanoseconds limit) override;
  void give_up(std::uint64_t, errc) override {}  // a function that reads no more may still answer
  void when_room(stream_waiter who) override;
  void forget_room(void* context) override;
  loop_core& loop() override;

 private:
  friend class call_watch;
  bool end(errc why, const char* text);
  // Until `me` has arrived (true) or the deadline has passed.
  result<bool, call_error> wait_for(follower& me, clock::time_point deadline);
  void pass_deadline();
  void leave_queue();

  std::shared_ptr<worker_link> link_;
  const std::uint64_t call_;
  const clock::time_point came_;
  std::shared_ptr<const handler> function_;
  std::stop_source stop_;
  std::atomic<bool> ended_{false};
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<call_watch> watch_;                            // whoever ends the call takes it
  std::uint32_t works_on_ = 0;                                   // a CPU
  static inline thread_local const call_state* here_ = nullptr;  // whose work this thread does
};

}  // namespace ferry
