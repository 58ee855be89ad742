// Waits for many descriptors at once and sends wakeups and transfers, with io_uring in batches.
// Units     durations and time points on the steady clock; messages in bytes.
// Threads   one thread at a time, and it may be a different one each time; starts no thread. fd()
//           may be polled by anyone while another thread uses the reactor.
// Lifetime  descriptors are borrowed: unwatch() before closing one, since the kernel keeps what is
//           watched alive. A socket given to notify() or start() stays open until the next flush(),
//           unwatch() or wait(). A forked child may destroy a reactor of its parent, nothing else.
// Errors    refused, not_supported: a forced io_uring that this kernel or container denies.
//           bad_argument: an unknown name, a descriptor watched twice.  limit: `what` names it.
//           system: the call that failed; watching a closed descriptor is EBADF, watching one that
//           is always ready (a regular file, /dev/null) is EPERM.
// Source    engine/reactor/README.md.
#pragma once
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "shm/result.h"

namespace ferry {

enum class reactor_kind { automatic, io_uring, epoll };

// "auto", "io_uring" or "epoll"; anything else is bad_argument.
result<reactor_kind> parse_reactor_kind(std::string_view name);

// The names that parse_reactor_kind() reads.
std::string_view name_of(reactor_kind kind) noexcept;

inline constexpr std::size_t notify_max_bytes = 16;

struct reactor_event {
  std::uint64_t token;    // what watch() was given
  bool readable;          // a read will not block: data, an end of file, a connection to accept
  bool hung_up;           // the other end is gone, or an error waits; data may still be readable
  bool writable = false;  // a write will not block; only while interest() asks for it
};

// One gather write or scatter read of a socket, which never waits: what the socket takes or has.
// Owned by whoever starts it; stays where it is, with all that `message` points to, until it has
// completed.
struct socket_transfer {
  int socket = -1;
  bool receives = false;
  msghdr message{};
  // Bytes, or -errno (-EAGAIN: full, or nothing there). Must not call the reactor.
  void (*completed)(socket_transfer& self, std::int64_t outcome) noexcept = nullptr;
};

// Does a transfer at once, by a system call of its own, on any thread.
void transfer_now(socket_transfer& what) noexcept;

class reactor {
 public:
  virtual ~reactor() = default;

  // `automatic` asks the environment variable FERRY_REACTOR (auto, io_uring, epoll; empty means
  // auto), and then takes io_uring where the kernel and the container allow it, else epoll.
  static result<std::unique_ptr<reactor>> create(reactor_kind kind = reactor_kind::automatic);

  virtual reactor_kind kind() const noexcept = 0;  // io_uring or epoll, never automatic
  virtual const char* why() const noexcept = 0;    // a literal: why this kind

  // From now on wait() reports `token` for as long as the descriptor is readable or hung up
  // (level-triggered). A descriptor that hung up stays so: unwatch it.
  virtual result<void> watch(int fd, std::uint64_t token) = 0;

  // What a watched descriptor is asked: whether there is input (at first: yes), and whether there
  // is room to write (at first: no). Its end is always told.  system
  virtual result<void> interest(int fd, bool input, bool room) = 0;

  // No later wait() gives an event of it; those already handed out are the caller's to skip.
  // Nothing happens if it is not watched.
  virtual void unwatch(int fd) noexcept = 0;

  // Waits until something watched is ready, the timer is due or `timeout` has passed (nullopt: no
  // limit; zero: never blocks) and returns how many events it wrote; `out` must have room for one.
  // 0 means a timeout, the timer, or a signal, and now and then nothing at all: look at your own
  // clock. An event may be out of date when the caller has read the descriptor since the last
  // wait(): read without blocking.
  virtual result<std::size_t> wait(std::span<reactor_event> out,
                                   std::optional<std::chrono::nanoseconds> timeout) = 0;

  // One descriptor for somebody else's poll loop: readable while anything watched is ready and
  // when the timer is due. The same value for as long as the reactor lives; never read it.
  virtual int fd() const noexcept = 0;

  // The one timer: ends a wait() and makes fd() readable at `when` (nullopt: never). A wait() that
  // returns after `when` forgets the timer; it gives no event.
  virtual result<void> set_timer(std::optional<std::chrono::steady_clock::time_point> when) = 0;

  // Sends at most notify_max_bytes on a connected socket without blocking. May be held back until
  // flush() or wait(), so that many leave in one system call. If the socket is full or the peer is
  // dead the message is dropped: a full socket has wakeups waiting in it already.
  virtual void notify(int socket, std::span<const std::byte> message) noexcept = 0;
  // Begins a transfer. May be held back until flush() or wait(), so that those of many sockets
  // leave in one system call; completed by then at the latest, maybe before start() returns.
  virtual void start(socket_transfer& what) noexcept = 0;
  virtual void flush() noexcept = 0;

 protected:
  reactor() = default;
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;
};

}  // namespace ferry
