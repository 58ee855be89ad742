#include "engine/reactor/poll_set.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace ferry {

using std::chrono::nanoseconds;

namespace {

constexpr std::size_t max_events_per_wait = 64;  // 12 bytes each on the stack; the rest wait a turn

}  // namespace

result<poll_set> poll_set::create() {
  unique_fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return error{errc::system, errno, "epoll_create1"};
  return poll_set(std::move(epoll));
}

result<void> poll_set::watch(int fd, std::uint64_t token) {
  epoll_event event{};
  event.events = EPOLLIN;  // EPOLLHUP and EPOLLERR are always told
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) {
    tokens_[fd] = token;
    return {};
  }
  if (errno == EEXIST) return error{errc::bad_argument, 0, "this descriptor is already watched"};
  if (errno == ENOSPC) return error{errc::limit, errno, "fs.epoll.max_user_watches"};
  return error{errc::system, errno, "epoll_ctl"};
}

result<void> poll_set::interest(int fd, bool input, bool room) {
  epoll_event event{};
  event.events = (input ? EPOLLIN : 0u) | (room ? EPOLLOUT : 0u);
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return {};
  if (errno == ENOENT) return error{errc::bad_argument, 0, "interest() in what is not watched"};
  return error{errc::system, errno, "epoll_ctl"};
}

void poll_set::unwatch(int fd) noexcept {
  if (tokens_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

// --- waiting ------------------------------------------------------------------------------------

result<std::size_t> poll_set::wait(std::span<reactor_event> out,
                                   std::optional<nanoseconds> timeout) {
  if (out.empty()) return error{errc::bad_argument, 0, "wait() needs room for an event"};
  std::array<epoll_event, max_events_per_wait> events;
  const std::size_t room = std::min(out.size(), events.size());
  const int ready = wait_in_kernel(std::span(events).first(room), limit(timeout));
  const int why = errno;
  forget_due_timer();
  if (ready < 0) {
    if (why == EINTR) return std::size_t{0};
    return error{errc::system, why, "epoll_wait"};
  }
  std::size_t count = 0;
  for (const auto& event : std::span(events).first(static_cast<std::size_t>(ready))) {
    const auto found = tokens_.find(event.data.fd);
    if (found == tokens_.end()) continue;  // the timer
    out[count++] = {found->second, (event.events & EPOLLIN) != 0,
                    (event.events & (EPOLLHUP | EPOLLERR)) != 0, (event.events & EPOLLOUT) != 0};
  }
  return count;
}

int poll_set::wait_in_kernel(std::span<epoll_event> events,
                             std::optional<nanoseconds> limit) noexcept {
  const int room = static_cast<int>(events.size());
  // Zero and "for ever" need no nanoseconds, and the older call is known everywhere.
  if (has_pwait2_ && limit && *limit > nanoseconds(0)) {
    const timespec left{limit->count() / std::nano::den, limit->count() % std::nano::den};
    const int ready = ::epoll_pwait2(epoll_.get(), events.data(), room, &left, nullptr);
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) return ready;
    has_pwait2_ = false;
  }
  int timeout_ms = -1;
  if (limit) {
    // Rounded up: rounding down would spin through the last millisecond.
    const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(*limit).count();
    timeout_ms = static_cast<int>(std::min<std::int64_t>(rounded, INT_MAX));
  }
  return ::epoll_wait(epoll_.get(), events.data(), room, timeout_ms);
}

// How long a wait may last: `timeout` or the time left on the timer, whichever is less. Never
// negative; nullopt = no limit.
std::optional<nanoseconds> poll_set::limit(std::optional<nanoseconds> timeout) const noexcept {
  if (timeout) timeout = std::max(*timeout, nanoseconds(0));
  if (!when_ || timeout == nanoseconds(0)) return timeout;
  const auto now = clock::now();  // compared before subtracting: `when` may be anywhere in time
  const nanoseconds left = *when_ <= now ? nanoseconds(0) : nanoseconds(*when_ - now);
  return timeout ? std::min(*timeout, left) : left;
}

// --- the timer ----------------------------------------------------------------------------------

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
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = timer.get();
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer.get(), &event) != 0) {
      if (errno == ENOSPC) return error{errc::limit, errno, "fs.epoll.max_user_watches"};
      return error{errc::system, errno, "epoll_ctl"};
    }
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

}  // namespace ferry
