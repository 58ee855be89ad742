// The watched descriptors and the timer as one epoll descriptor: what a reactor waits on, and what
// its fd() hands out.
// Units     absolute times on the steady clock, which is CLOCK_MONOTONIC.
// Threads   one at a time; fd() may be polled by anyone meanwhile.
// Errors    of add(): bad_argument (added twice), limit (fs.epoll.max_user_watches), system.
// Source    engine/reactor/README.md.
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <unordered_map>

#include "engine/reactor/reactor.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

struct epoll_event;

namespace ferry {

class poll_set {
 public:
  using clock = std::chrono::steady_clock;

  static result<poll_set> create();

  // As those of the reactor.
  result<void> watch(int fd, std::uint64_t token);
  result<void> interest(int fd, bool input, bool room);
  void unwatch(int fd) noexcept;
  result<std::size_t> wait(std::span<reactor_event> out,
                           std::optional<std::chrono::nanoseconds> timeout);

  // The timer is a number until somebody outside may be polling: only then is the kernel told, so
  // a program that just calls wait() sets timers without a system call.
  int share() const noexcept;
  result<void> set_timer(std::optional<clock::time_point> when);

 private:
  explicit poll_set(unique_fd epoll) noexcept : epoll_(std::move(epoll)) {}
  void program_timer() const noexcept;
  void forget_due_timer() noexcept;
  std::optional<std::chrono::nanoseconds> limit(
      std::optional<std::chrono::nanoseconds> timeout) const noexcept;
  int wait_in_kernel(std::span<epoll_event> events,
                     std::optional<std::chrono::nanoseconds> limit) noexcept;

  unique_fd epoll_;
  unique_fd timer_;
  std::optional<clock::time_point> when_;
  std::unordered_map<int, std::uint64_t> tokens_;  // by descriptor; touched by watch, then read
  mutable bool shared_ = false;  // fd() was asked for, so the kernel's timer must follow when_
  bool has_pwait2_ = true;       // until the kernel (before 5.11) or a seccomp profile says no
};

}  // namespace ferry
