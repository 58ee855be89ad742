#include "engine/reactor/epoll_reactor.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <unordered_map>

#include "engine/reactor/poll_set.h"

namespace ferry {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t max_events_per_wait = 64;  // 12 bytes each on the stack; the rest wait a turn

class epoll_reactor final : public reactor {
 public:
  epoll_reactor(poll_set set, const char* why) noexcept : set_(std::move(set)), why_(why) {}

  reactor_kind kind() const noexcept override { return reactor_kind::epoll; }
  const char* why() const noexcept override { return why_; }
  int fd() const noexcept override { return set_.share(); }

  result<void> watch(int fd, std::uint64_t token) override {
    if (auto added = set_.add(fd); !added) return added;
    tokens_[fd] = token;
    return {};
  }

  result<void> interest(int fd, bool input, bool room) override {
    return set_.change(fd, input, room);
  }

  void unwatch(int fd) noexcept override {
    if (tokens_.erase(fd) != 0) set_.remove(fd);
  }

  result<std::size_t> wait(std::span<reactor_event> out,
                           std::optional<nanoseconds> timeout) override;

  result<void> set_timer(std::optional<std::chrono::steady_clock::time_point> when) override {
    return set_.set_timer(when);
  }

  void notify(int socket, std::span<const std::byte> message) noexcept override {
    FERRY_CHECK(message.size() <= notify_max_bytes);
    ::send(socket, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  void start(socket_transfer& what) noexcept override { transfer_now(what); }
  void flush() noexcept override {}

 private:
  int wait_in_kernel(std::span<epoll_event> events, std::optional<nanoseconds> limit) noexcept;

  poll_set set_;
  std::unordered_map<int, std::uint64_t> tokens_;  // by descriptor; touched by watch, then read
  const char* why_;
  bool has_pwait2_ = true;  // until the kernel (before 5.11) or a seccomp profile says no
};

result<std::size_t> epoll_reactor::wait(std::span<reactor_event> out,
                                        std::optional<nanoseconds> timeout) {
  if (out.empty()) return error{errc::bad_argument, 0, "wait() needs room for an event"};
  std::array<epoll_event, max_events_per_wait> events;
  const std::size_t room = std::min(out.size(), events.size());
  const int ready = wait_in_kernel(std::span(events).first(room), set_.limit(timeout));
  const int why = errno;
  set_.forget_due_timer();
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

int epoll_reactor::wait_in_kernel(std::span<epoll_event> events,
                                  std::optional<nanoseconds> limit) noexcept {
  const int room = static_cast<int>(events.size());
  // Zero and "for ever" need no nanoseconds, and the older call is known everywhere.
  if (has_pwait2_ && limit && *limit > nanoseconds(0)) {
    const timespec left{limit->count() / std::nano::den, limit->count() % std::nano::den};
    const int ready = ::epoll_pwait2(set_.epoll_fd(), events.data(), room, &left, nullptr);
    if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) return ready;
    has_pwait2_ = false;
  }
  int timeout_ms = -1;
  if (limit) {
    // Rounded up: rounding down would spin through the last millisecond.
    const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(*limit).count();
    timeout_ms = static_cast<int>(std::min<std::int64_t>(rounded, INT_MAX));
  }
  return ::epoll_wait(set_.epoll_fd(), events.data(), room, timeout_ms);
}

}  // namespace

result<std::unique_ptr<reactor>> make_epoll_reactor(const char* why) {
  auto set = poll_set::create();
  if (!set) return set.error();
  return std::unique_ptr<reactor>(std::make_unique<epoll_reactor>(*std::move(set), why));
}

}  // namespace ferry
