#include "engine/reactor/uring_reactor.h"

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/reactor/poll_set.h"

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr unsigned ring_entries = 64;    // a full ring submits early, so this is no limit
constexpr unsigned transfers_held = 24;  // more begin at once: their readers need not wait for all
constexpr std::size_t send_slots = 32;   // messages held back at once, 16 bytes each
constexpr int submit_tries = 4;          // against a kernel short of memory or room
constexpr auto longest_wait = std::chrono::hours(1);  // what "no limit" means to the kernel

// A request's user_data: what it is (2 bits), the generation of its watch (30), its index (32). Of
// a transfer all of it is its address, whose upper bits are zero; of the trial it is null.
enum class request : std::uint64_t { transfer = 0, poll = 1, poll_remove = 2, send = 3 };
constexpr std::uint32_t generation_mask = (1u << 30) - 1;

constexpr std::uint64_t tag(request what, std::uint32_t generation, std::uint32_t index) {
  return static_cast<std::uint64_t>(what) << 62 | std::uint64_t{generation} << 32 | index;
}
constexpr request kind_in(std::uint64_t tag) { return static_cast<request>(tag >> 62); }
constexpr std::uint32_t generation_in(std::uint64_t tag) {
  return static_cast<std::uint32_t>(tag >> 32) & generation_mask;
}
constexpr std::uint32_t index_in(std::uint64_t tag) { return static_cast<std::uint32_t>(tag); }

// Owns a ring: its memory and its descriptor.
class ring_owner {
 public:
  ring_owner() = default;
  ring_owner(const ring_owner&) = delete;
  ring_owner& operator=(const ring_owner&) = delete;
  ~ring_owner() {
    if (owner_ == 0) return;
    // A forked child has the descriptor but not the memory (DONTFORK): by now something else may be
    // mapped there, which liburing would unmap.
    if (owner_ == ::getpid()) {
      ::io_uring_queue_exit(&ring_);
    } else {
      ::close(ring_.ring_fd);
    }
  }

  bool is_ours() const noexcept { return owner_ == ::getpid(); }
  io_uring* get() noexcept { return &ring_; }

  result<void> open();

 private:
  result<void> try_out();

  io_uring ring_{};
  pid_t owner_ = 0;  // 0 = no ring
};

error refusal(int sys_errno, const char* what) {
  switch (sys_errno) {
    case ENOSYS: return error{errc::not_supported, sys_errno, what};
    case EPERM:
    case EACCES: return error{errc::refused, sys_errno, what};
    default: return error{errc::system, sys_errno, what};
  }
}

result<void> ring_owner::open() {
  // SUBMIT_ALL (5.18): one bad request does not hold up those behind it. COOP_TASKRUN (5.19): a
  // completion does not interrupt a thread that is computing. Not asked for, on purpose:
  // SINGLE_ISSUER and DEFER_TASKRUN, which tie the ring to one thread.
  io_uring_params params{};
  params.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN;
  int rc = ::io_uring_queue_init_params(ring_entries, &ring_, &params);
  if (rc == -EINVAL) {
    params = {};
    rc = ::io_uring_queue_init_params(ring_entries, &ring_, &params);
  }
  if (rc < 0) {
    return refusal(-rc, "io_uring_setup (kernel.io_uring_disabled or a seccomp profile?)");
  }
  owner_ = ::getpid();
  // NODROP: completions beyond the queue's room wait in the kernel. EXT_ARG: a wait takes a
  // timeout.
  constexpr unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
  if ((params.features & needed) != needed) {
    return error{errc::not_supported, 0, "io_uring of this kernel is too old (needs Linux 5.11)"};
  }
  if (rc = ::io_uring_ring_dontfork(&ring_); rc < 0) return refusal(-rc, "madvise(MADV_DONTFORK)");
  return try_out();
}

result<void> ring_owner::try_out() {
  struct probe_freer {
    void operator()(io_uring_probe* probe) const noexcept { ::io_uring_free_probe(probe); }
  };
  const std::unique_ptr<io_uring_probe, probe_freer> probe(::io_uring_get_probe_ring(&ring_));
  if (!probe) return error{errc::refused, 0, "io_uring_register (a seccomp profile?)"};
  for (const int opcode : {IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE, IORING_OP_SEND,
                           IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_RECVMSG}) {
    if (!::io_uring_opcode_supported(probe.get(), opcode)) {
      return error{errc::not_supported, 0, "io_uring without poll or send"};
    }
  }
  // One request all the way round: setup may be allowed where entering is not.
  io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
  ::io_uring_prep_nop(sqe);
  ::io_uring_sqe_set_data64(sqe, tag(request::transfer, 0, 0));
  int rc = ::io_uring_submit_and_wait(&ring_, 1);
  io_uring_cqe* cqe = nullptr;
  if (rc >= 0) rc = ::io_uring_peek_cqe(&ring_, &cqe);
  if (rc < 0) return refusal(-rc, "io_uring_enter (a seccomp profile?)");
  ::io_uring_cqe_seen(&ring_, cqe);
  return {};
}

class uring_reactor final : public reactor {
 public:
  uring_reactor(poll_set set, const char* why) : set_(std::move(set)), why_(why) {
    for (std::uint8_t slot = 0; slot < send_slots; ++slot) free_sends_[slot] = slot;
  }
  ~uring_reactor() override;

  result<void> open() { return ring_.open(); }

  reactor_kind kind() const noexcept override { return reactor_kind::io_uring; }
  const char* why() const noexcept override { return why_; }
  int fd() const noexcept override { return set_.share(); }

  result<void> watch(int fd, std::uint64_t token) override;
  result<void> interest(int fd, bool input, bool room) override;
  void unwatch(int fd) noexcept override;
  result<std::size_t> wait(std::span<reactor_event> out,
                           std::optional<nanoseconds> timeout) override;
  result<void> set_timer(std::optional<clock::time_point> when) override {
    return set_.set_timer(when);
  }
  void notify(int socket, std::span<const std::byte> message) noexcept override;
  void start(socket_transfer& what) noexcept override;
  void flush() noexcept override { submit(); }

 private:
  // Where a watch is decides which list it stands in; it stands in exactly one.
  enum class place : std::uint8_t { unused, idle, armed, ready };
  struct watched {
    int fd = -1;
    std::uint32_t generation = 0;  // completions of an older one are dropped
    std::uint64_t token = 0;
    int outcome = 0;           // of the poll: events, or -errno; set while `ready`
    unsigned events = POLLIN;  // what the poll asks for
    place where = place::unused;
  };

  io_uring_sqe* next_sqe() noexcept;
  void submit() noexcept;
  void reap() noexcept;
  void complete_poll(std::uint64_t tag, int outcome) noexcept;
  void cancel_poll(std::uint32_t index) noexcept;
  void adopt_polls() noexcept;
  bool arm_idle() noexcept;
  int enter(std::optional<nanoseconds> limit) noexcept;
  std::size_t hand_out(std::span<reactor_event> out) noexcept;

  ring_owner ring_;
  poll_set set_;
  const char* why_;

  std::vector<watched> watched_;
  std::unordered_map<int, std::uint32_t> by_fd_;  // watched descriptor -> index in watched_
  // Indices, each with room for all of watched_, so that only watch() allocates.
  std::vector<std::uint32_t> unused_;
  std::vector<std::uint32_t> idle_;   // no poll in the kernel: armed by the next wait()
  std::vector<std::uint32_t> ready_;  // the poll completed, the event is not handed out yet
  std::thread::id armed_by_;          // whose polls they are, see adopt_polls()

  std::array<std::array<std::byte, notify_max_bytes>, send_slots> sends_;
  std::array<std::uint8_t, send_slots> free_sends_;
  std::size_t free_send_count_ = send_slots;
  unsigned held_sends_ = 0;  // prepared since the last submission
};

uring_reactor::~uring_reactor() {
  if (!ring_.is_ours()) return;
  // Closing the ring cancels the polls some time later, and until then they hold the files open.
  for (std::uint32_t index = 0; index < watched_.size(); ++index) {
    if (watched_[index].where == place::armed) cancel_poll(index);
  }
  submit();
}

result<void> uring_reactor::watch(int fd, std::uint64_t token) {
  if (auto added = set_.add(fd); !added) return added;
  // epoll forgets a closed descriptor: if we have not, the caller closed it without unwatch().
  if (by_fd_.contains(fd)) {
    unwatch(fd);
    if (auto added = set_.add(fd); !added) return added;
  }
  if (unused_.empty()) {
    const std::size_t count = watched_.size() + 1;
    for (auto* list : {&unused_, &idle_, &ready_}) {
      if (list->capacity() < count) list->reserve(2 * count);
    }
    unused_.push_back(static_cast<std::uint32_t>(watched_.size()));
    watched_.emplace_back();
  }
  const std::uint32_t index = unused_.back();
  by_fd_[fd] = index;
  unused_.pop_back();
  watched& entry = watched_[index];
  entry.fd = fd;
  entry.token = token;
  entry.events = POLLIN;
  entry.where = place::idle;
  idle_.push_back(index);
  return {};
}

result<void> uring_reactor::interest(int fd, bool input, bool room) {
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end())
    return error{errc::bad_argument, 0, "interest() in what is not watched"};
  watched& entry = watched_[found->second];
  const unsigned events = (input ? POLLIN : 0u) | (room ? POLLOUT : 0u);
  if (entry.events == events) return {};
  if (auto changed = set_.change(fd, input, room); !changed) return changed;
  entry.events = events;
  if (entry.where == place::armed) {
    cancel_poll(found->second);
    // cancel_poll may have taken in this very poll's completion while it made room.
    if (entry.where == place::armed) {
      entry.where = place::idle;
      idle_.push_back(found->second);
    }
  }
  return {};
}

void uring_reactor::unwatch(int fd) noexcept {
  const auto found = by_fd_.find(fd);
  if (found != by_fd_.end()) {
    const std::uint32_t index = found->second;
    by_fd_.erase(found);
    set_.remove(fd);
    watched& entry = watched_[index];
    if (entry.where == place::armed) cancel_poll(index);
    if (entry.where == place::idle) std::erase(idle_, index);
    if (entry.where == place::ready) std::erase(ready_, index);
    entry.where = place::unused;
    entry.fd = -1;
    unused_.push_back(index);
  }
  // Nothing may name this descriptor after the caller has closed it: neither the poll, which would
  // keep the file open, nor a message held back, which would go to the next file of this number.
  submit();
}

result<std::size_t> uring_reactor::wait(std::span<reactor_event> out,
                                        std::optional<nanoseconds> timeout) {
  if (out.empty()) return error{errc::bad_argument, 0, "wait() needs room for an event"};
  std::optional<nanoseconds> limit = set_.limit(timeout);
  std::optional<clock::time_point> deadline;  // nullopt: none, or too far away to be told
  if (limit && *limit > nanoseconds(0) && *limit < longest_wait) deadline = clock::now() + *limit;

  adopt_polls();
  reap();  // what completed since the last turn costs no system call
  int refusals = 0;
  while (ready_.empty()) {
    if (!arm_idle()) return error{errc::system, EBUSY, "io_uring_enter"};
    const int rc = enter(limit);
    reap();
    if (rc == -EBUSY || rc == -EAGAIN) {
      if (++refusals == submit_tries) return error{errc::system, -rc, "io_uring_enter"};
      continue;
    }
    if (rc == -EINTR || rc == -ETIME) break;
    if (rc < 0) return error{errc::system, -rc, "io_uring_enter"};
    if (!ready_.empty()) break;
    if (limit == nanoseconds(0)) break;
    // Woken by something that is no event: a message that was refused, a poll that was cancelled.
    if (deadline) limit = std::max(nanoseconds(*deadline - clock::now()), nanoseconds(0));
  }
  submit();  // messages, if there was something to hand out without entering the kernel
  set_.forget_due_timer();
  return hand_out(out);
}

void uring_reactor::notify(int socket, std::span<const std::byte> message) noexcept {
  FERRY_CHECK(message.size() <= notify_max_bytes);
  if (free_send_count_ == 0) submit();  // a send that cannot block completes while it is submitted
  io_uring_sqe* const sqe = free_send_count_ == 0 ? nullptr : next_sqe();
  if (sqe == nullptr) {
    ::send(socket, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  const std::uint8_t slot = free_sends_[--free_send_count_];
  if (!message.empty()) std::memcpy(sends_[slot].data(), message.data(), message.size());
  ::io_uring_prep_send(sqe, socket, sends_[slot].data(), message.size(),
                       MSG_DONTWAIT | MSG_NOSIGNAL);
  ::io_uring_sqe_set_data64(sqe, tag(request::send, 0, slot));
  ++held_sends_;
}

void uring_reactor::start(socket_transfer& what) noexcept {
  io_uring_sqe* const sqe = next_sqe();
  if (sqe == nullptr) return transfer_now(what);
  constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;  // so it completes while it is submitted
  const bool one_piece =                              // a request has 32 bits for its size
      what.message.msg_iovlen == 1 && what.message.msg_iov[0].iov_len <= INT_MAX;
  if (one_piece) {  // the kernel has no header and no list to fetch
    const iovec& all = what.message.msg_iov[0];
    if (what.receives) {
      ::io_uring_prep_recv(sqe, what.socket, all.iov_base, all.iov_len, flags);
    } else {
      ::io_uring_prep_send(sqe, what.socket, all.iov_base, all.iov_len, flags);
    }
  } else if (what.receives) {
    ::io_uring_prep_recvmsg(sqe, what.socket, &what.message, flags);
  } else {
    ::io_uring_prep_sendmsg(sqe, what.socket, &what.message, flags);
  }
  ::io_uring_sqe_set_data(sqe, &what);
  if (++held_sends_ >= transfers_held && !what.receives) submit();
}

// Room for one more request; nullptr only if the kernel keeps refusing those before it.
io_uring_sqe* uring_reactor::next_sqe() noexcept {
  io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
  if (sqe == nullptr) {
    submit();
    sqe = ::io_uring_get_sqe(ring_.get());
  }
  return sqe;
}

// Hands the kernel what is prepared, if anything, and takes in what completed. What a kernel short
// of memory refuses several times stays prepared for the next time.
void uring_reactor::submit() noexcept {
  for (int tries = 0; tries < submit_tries && ::io_uring_sq_ready(ring_.get()) != 0; ++tries) {
    ::io_uring_submit(ring_.get());
    held_sends_ = 0;
    reap();  // also makes room, which an older kernel may have been asking for
  }
}

// Takes in all completions, also those that waited in the kernel because the queue was full.
void uring_reactor::reap() noexcept {
  std::array<io_uring_cqe*, 32> batch;
  unsigned count = 0;
  while ((count = ::io_uring_peek_batch_cqe(ring_.get(), batch.data(), batch.size())) != 0) {
    for (const io_uring_cqe* cqe : std::span(batch).first(count)) {
      switch (kind_in(cqe->user_data)) {
        case request::poll: complete_poll(cqe->user_data, cqe->res); break;
        case request::send:
          // How it went does not matter: a full socket wakes its reader anyway, and that a peer
          // is dead is seen by whoever watches the socket.
          free_sends_[free_send_count_++] = static_cast<std::uint8_t>(index_in(cqe->user_data));
          break;
        case request::poll_remove: break;  // the poll was cancelled, or had completed: both fine
        case request::transfer:
          if (auto* const what = reinterpret_cast<socket_transfer*>(cqe->user_data)) {
            what->completed(*what, cqe->res);
          }
          break;
      }
    }
    ::io_uring_cq_advance(ring_.get(), count);
  }
}

void uring_reactor::complete_poll(std::uint64_t tag, int outcome) noexcept {
  const std::uint32_t index = index_in(tag);
  watched& entry = watched_[index];
  if (entry.where != place::armed || entry.generation != generation_in(tag)) return;  // stale
  if (outcome == -ECANCELED) {
    // The kernel gave it up: the thread that armed it is gone. The next wait() arms it again.
    entry.where = place::idle;
    idle_.push_back(index);
    return;
  }
  entry.where = place::ready;
  entry.outcome = outcome;
  ready_.push_back(index);
}

// Takes the poll of an armed watch out of the kernel; the caller says where the watch goes. If
// there is no room for the request, the poll stays until it fires or the ring goes, unheard.
void uring_reactor::cancel_poll(std::uint32_t index) noexcept {
  watched& entry = watched_[index];
  if (io_uring_sqe* const sqe = next_sqe(); sqe != nullptr) {
    ::io_uring_prep_poll_remove(sqe, tag(request::poll, entry.generation, index));
    ::io_uring_sqe_set_data64(sqe, tag(request::poll_remove, 0, index));
  }
  entry.generation = (entry.generation + 1) & generation_mask;
}

// A poll is completed by the thread that armed it, in passing through the kernel. After the reactor
// has moved, that thread may sleep or compute for long, so the new one arms everything again.
void uring_reactor::adopt_polls() noexcept {
  if (armed_by_ == std::this_thread::get_id()) return;
  armed_by_ = std::this_thread::get_id();
  for (std::uint32_t index = 0; index < watched_.size(); ++index) {
    if (watched_[index].where != place::armed) continue;
    cancel_poll(index);
    // cancel_poll may have taken in this very poll's completion while it made room.
    if (watched_[index].where != place::armed) continue;
    watched_[index].where = place::idle;
    idle_.push_back(index);
  }
}

// False if the kernel keeps refusing requests.
bool uring_reactor::arm_idle() noexcept {
  while (!idle_.empty()) {
    io_uring_sqe* const sqe = next_sqe();
    if (sqe == nullptr) return false;
    const std::uint32_t index = idle_.back();
    idle_.pop_back();
    watched& entry = watched_[index];
    ::io_uring_prep_poll_add(sqe, entry.fd, entry.events);  // POLLHUP, POLLERR: always
    ::io_uring_sqe_set_data64(sqe, tag(request::poll, entry.generation, index));
    entry.where = place::armed;
  }
  return true;
}

// Submits what is prepared and waits in the same system call. -ETIME, -EINTR: as if timed out.
int uring_reactor::enter(std::optional<nanoseconds> limit) noexcept {
  const unsigned sends = std::exchange(held_sends_, 0u);
  if (!ready_.empty() || limit == nanoseconds(0)) {
    return ::io_uring_submit_and_get_events(ring_.get());
  }
  // There is always a timeout: liburing hides an interruption of a call that also submitted, and
  // waits once more, unless there is one.
  const nanoseconds left = std::min<nanoseconds>(limit.value_or(longest_wait), longest_wait);
  __kernel_timespec timeout{left.count() / std::nano::den, left.count() % std::nano::den};
  // Every send completes during the submission, whatever comes of it: waiting for one completion
  // would only find those and need a second call to sleep.
  io_uring_cqe* first = nullptr;
  return ::io_uring_submit_and_wait_timeout(ring_.get(), &first, sends + 1, &timeout, nullptr);
}

std::size_t uring_reactor::hand_out(std::span<reactor_event> out) noexcept {
  const std::size_t count = std::min(out.size(), ready_.size());
  for (std::size_t i = 0; i < count; ++i) {
    watched& entry = watched_[ready_[i]];
    const bool failed = entry.outcome < 0;  // the descriptor was closed behind our back
    const unsigned events = failed ? 0u : static_cast<unsigned>(entry.outcome) & entry.events;
    out[i] = {entry.token, (events & POLLIN) != 0,
              failed || (entry.outcome & (POLLHUP | POLLERR)) != 0, (events & POLLOUT) != 0};
    entry.where = place::idle;
    idle_.push_back(ready_[i]);
  }
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace

result<std::unique_ptr<reactor>> make_uring_reactor(const char* why) {
  auto set = poll_set::create();
  if (!set) return set.error();
  auto made = std::make_unique<uring_reactor>(*std::move(set), why);
  if (auto opened = made->open(); !opened) return opened.error();
  return std::unique_ptr<reactor>(std::move(made));
}

}  // namespace ferry
