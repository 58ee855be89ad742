#include "engine/reactor/poll_set.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>

namespace ferry {

using std::chrono::nanoseconds;

void transfer_now(socket_transfer& what) noexcept {
  constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  ssize_t outcome = -1;
  const msghdr& message = what.message;
  do {
    if (message.msg_iovlen == 1) {  // the kernel has no header and no list to fetch
      const iovec& all = message.msg_iov[0];
      outcome = what.receives ? ::recv(what.socket, all.iov_base, all.iov_len, flags)
                              : ::send(what.socket, all.iov_base, all.iov_len, flags);
    } else {
      outcome = what.receives ? ::recvmsg(what.socket, &what.message, flags)
                              : ::sendmsg(what.socket, &message, flags);
    }
  } while (outcome < 0 && errno == EINTR);
  what.completed(what, outcome < 0 ? -errno : outcome);
}

result<poll_set> poll_set::create() {
  unique_fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return error{errc::system, errno, "epoll_create1"};
  return poll_set(std::move(epoll));
}

result<void> poll_set::add(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;  // EPOLLHUP and EPOLLERR are always told
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  if (errno == EEXIST) return error{errc::bad_argument, 0, "this descriptor is already watched"};
  if (errno == ENOSPC) return error{errc::limit, errno, "fs.epoll.max_user_watches"};
  return error{errc::system, errno, "epoll_ctl"};
}

result<void> poll_set::change(int fd, bool input, bool room) {
  epoll_event event{};
  event.events = (input ? EPOLLIN : 0u) | (room ? EPOLLOUT : 0u);
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) {
    return error{errc::system, errno, "epoll_ctl"};
  }
  return {};
}

void poll_set::remove(int fd) noexcept { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

int poll_set::share() const noexcept {
  if (!shared_) {
    shared_ = true;
    program_timer();
  }
  return epoll_.get();
}

result<void> poll_set::set_timer(std::optional<clock::time_point> when) {
  if (when && !timer_) {
    unique_fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer) return error{errc::system, errno, "timerfd_create"};
    if (auto added = add(timer.get()); !added) return added;
    timer_ = std::move(timer);
  }
  if (when == when_) return {};
  when_ = when;
  program_timer();
  return {};
}

void poll_set::forget_due_timer() noexcept {
  if (!when_ || clock::now() < *when_) return;
  when_.reset();
  program_timer();  // setting a timerfd also clears what had expired: no read
}

void poll_set::program_timer() const noexcept {
  if (!shared_ || !timer_) return;
  itimerspec spec{};  // all zero: off
  if (when_) {
    // Zero would mean off, and a negative time is refused: both are long past.
    const nanoseconds at = std::max(nanoseconds(1), nanoseconds(when_->time_since_epoch()));
    spec.it_value.tv_sec = at.count() / std::nano::den;
    spec.it_value.tv_nsec = at.count() % std::nano::den;
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);  // cannot fail: valid, ours
}

std::optional<nanoseconds> poll_set::limit(std::optional<nanoseconds> timeout) const noexcept {
  if (timeout) timeout = std::max(*timeout, nanoseconds(0));
  if (!when_ || timeout == nanoseconds(0)) return timeout;
  const auto now = clock::now();  // compared before subtracting: `when` may be anywhere in time
  const nanoseconds left = *when_ <= now ? nanoseconds(0) : nanoseconds(*when_ - now);
  return timeout ? std::min(*timeout, left) : left;
}

}  // namespace ferry
