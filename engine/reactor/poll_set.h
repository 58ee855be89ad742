// The watched descriptors and the timer as one epoll descriptor: what reactor::fd() hands out.
// Both reactors keep one. The epoll reactor also waits on it; the io_uring reactor only fills it,
// so that fd() is exact and owes nothing to which requests are armed, or by which thread.
// Units     absolute times on the steady clock, which is CLOCK_MONOTONIC.
// Threads   one at a time; fd() may be polled by anyone meanwhile.
// Errors    of add(): bad_argument (added twice), limit (fs.epoll.max_user_watches), system.
// Source    engine/reactor/README.md.
#pragma once
#include <chrono>
#include <optional>

#include "engine/reactor/reactor.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

// Does a transfer at once, by a system call of its own.
void transfer_now(socket_transfer& what) noexcept;

class poll_set {
 public:
  using clock = std::chrono::steady_clock;

  static result<poll_set> create();

  result<void> add(int fd);  // epoll's data.fd is `fd`
  result<void> change(int fd, bool input, bool room);
  void remove(int fd) noexcept;  // nothing happens if it is not there
  int epoll_fd() const noexcept { return epoll_.get(); }
  int timer_fd() const noexcept { return timer_.get(); }  // -1 before the first set_timer()

  // The timer is a number until somebody outside may be polling: only then is the kernel told, so
  // a program that just calls wait() sets timers without a system call.
  int share() const noexcept;
  result<void> set_timer(std::optional<clock::time_point> when);
  void forget_due_timer() noexcept;

  // How long a wait may last: `timeout` or the time left on the timer, whichever is less. Never
  // negative; nullopt = no limit.
  std::optional<std::chrono::nanoseconds> limit(
      std::optional<std::chrono::nanoseconds> timeout) const noexcept;

 private:
  explicit poll_set(unique_fd epoll) noexcept : epoll_(std::move(epoll)) {}
  void program_timer() const noexcept;

  unique_fd epoll_;
  unique_fd timer_;
  std::optional<clock::time_point> when_;
  mutable bool shared_ = false;  // fd() was asked for, so the kernel's timer must follow when_
};

}  // namespace ferry
