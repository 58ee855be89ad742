#include "engine/reactor/reactor.h"

#include <cerrno>
#include <cstdlib>

#include "engine/reactor/poll_set.h"
#include "engine/reactor/submission_ring.h"

namespace ferry {

using std::chrono::nanoseconds;

namespace {

// Waits with epoll; sends through a ring, or, without one, at once.
class reactor_impl final : public reactor {
 public:
  reactor_impl(poll_set set, std::unique_ptr<submission_ring> ring, const char* why) noexcept
      : set_(std::move(set)), ring_(std::move(ring)), why_(why) {}

  reactor_kind kind() const noexcept override {
    return ring_ ? reactor_kind::io_uring : reactor_kind::epoll;
  }
  const char* why() const noexcept override { return why_; }
  int fd() const noexcept override { return set_.share(); }

  result<void> watch(int fd, std::uint64_t token) override { return set_.watch(fd, token); }
  result<void> interest(int fd, bool input, bool room) override {
    return set_.interest(fd, input, room);
  }
  void unwatch(int fd) noexcept override {
    set_.unwatch(fd);
    flush();  // what was held back for it must not go to the next file of this number
  }
  result<std::size_t> wait(std::span<reactor_event> out,
                           std::optional<nanoseconds> timeout) override {
    flush();
    return set_.wait(out, timeout);
  }
  result<void> set_timer(std::optional<std::chrono::steady_clock::time_point> when) override {
    return set_.set_timer(when);
  }

  void notify(int socket, std::span<const std::byte> message) noexcept override {
    FERRY_CHECK(message.size() <= notify_max_bytes);
    if (ring_) return ring_->notify(socket, message);
    ::send(socket, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  void start(socket_transfer& what) noexcept override {
    if (ring_) return ring_->start(what);
    transfer_now(what);
  }
  void flush() noexcept override {
    if (ring_) ring_->submit();
  }

 private:
  poll_set set_;
  std::unique_ptr<submission_ring> ring_;  // null: epoll alone
  const char* why_;
};

result<std::unique_ptr<reactor>> make(reactor_kind kind, const char* why) {
  std::unique_ptr<submission_ring> ring;
  if (kind == reactor_kind::io_uring) {
    auto opened = submission_ring::create();
    if (!opened) return opened.error();
    ring = *std::move(opened);
  }
  auto set = poll_set::create();
  if (!set) return set.error();
  return std::unique_ptr<reactor>(
      std::make_unique<reactor_impl>(*std::move(set), std::move(ring), why));
}

}  // namespace

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

result<reactor_kind> parse_reactor_kind(std::string_view name) {
  for (const auto kind : {reactor_kind::automatic, reactor_kind::io_uring, reactor_kind::epoll}) {
    if (name == name_of(kind)) return kind;
  }
  return error{errc::bad_argument, 0, "a reactor is one of: auto, io_uring, epoll"};
}

std::string_view name_of(reactor_kind kind) noexcept {
  switch (kind) {
    case reactor_kind::automatic: return "auto";
    case reactor_kind::io_uring: return "io_uring";
    case reactor_kind::epoll: return "epoll";
  }
  return "error";
}

result<std::unique_ptr<reactor>> reactor::create(reactor_kind kind) {
  const char* why = "chosen by option";
  if (kind == reactor_kind::automatic) {
    const char* const name = std::getenv("FERRY_REACTOR");
    if (name != nullptr && *name != '\0') {
      const auto parsed = parse_reactor_kind(name);
      if (!parsed) {
        return error{errc::bad_argument, 0, "FERRY_REACTOR is one of: auto, io_uring, epoll"};
      }
      kind = *parsed;
      why = "FERRY_REACTOR";
    }
  }
  if (kind != reactor_kind::automatic) return make(kind, why);

  // Whatever the reason was, epoll is worth a try: if the process is out of descriptors or memory,
  // it will say so too.
  auto with_ring = make(reactor_kind::io_uring, "io_uring is available");
  if (with_ring) return with_ring;
  return make(reactor_kind::epoll, "io_uring refused by the kernel or container");
}

}  // namespace ferry
