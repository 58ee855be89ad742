#include "engine/reactor/submission_ring.h"

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace ferry {
namespace {

constexpr unsigned ring_entries = 64;    // a full ring submits early, so this is no limit
constexpr unsigned transfers_held = 24;  // more begin at once: their readers need not wait for all
constexpr int submit_tries = 4;          // against a kernel short of memory or room
constexpr int transfer_flags = MSG_DONTWAIT | MSG_NOSIGNAL;  // completes while it is submitted

// A request's user_data: 0 of the trial, 1 + slot of a message, the address of a transfer.
constexpr std::uint64_t trial_tag = 0;
constexpr std::uint64_t tag_of_slot(std::uint8_t slot) noexcept { return 1u + slot; }

error refusal(int sys_errno, const char* what) {
  switch (sys_errno) {
    case ENOSYS: return error{errc::not_supported, sys_errno, what};
    case EPERM:
    case EACCES: return error{errc::refused, sys_errno, what};
    default: return error{errc::system, sys_errno, what};
  }
}

}  // namespace

// Owns a ring: its memory and its descriptor.
struct submission_ring::ring_owner {
  ring_owner() = default;
  ring_owner(const ring_owner&) = delete;
  ring_owner& operator=(const ring_owner&) = delete;
  ~ring_owner() {
    if (owner == 0) return;
    // A forked child has the descriptor but not the memory (DONTFORK): by now something else may be
    // mapped there, which liburing would unmap.
    if (owner == ::getpid()) {
      ::io_uring_queue_exit(&ring);
    } else {
      ::close(ring.ring_fd);
    }
  }

  result<void> open();
  result<void> try_out();

  io_uring ring{};
  pid_t owner = 0;  // 0 = no ring
};

result<void> submission_ring::ring_owner::open() {
  // SUBMIT_ALL (5.18): one bad request does not hold up those behind it. COOP_TASKRUN (5.19): a
  // completion does not interrupt a thread that is computing. Not asked for, on purpose:
  // SINGLE_ISSUER and DEFER_TASKRUN, which tie the ring to one thread.
  io_uring_params params{};
  params.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN;
  int rc = ::io_uring_queue_init_params(ring_entries, &ring, &params);
  if (rc == -EINVAL) {
    params = {};
    rc = ::io_uring_queue_init_params(ring_entries, &ring, &params);
  }
  if (rc < 0) {
    return refusal(-rc, "io_uring_setup (kernel.io_uring_disabled or a seccomp profile?)");
  }
  owner = ::getpid();
  // NODROP: completions beyond the queue's room wait in the kernel.
  if ((params.features & IORING_FEAT_NODROP) == 0) {
    return error{errc::not_supported, 0, "io_uring of this kernel is too old (needs Linux 5.11)"};
  }
  if (rc = ::io_uring_ring_dontfork(&ring); rc < 0) return refusal(-rc, "madvise(MADV_DONTFORK)");
  return try_out();
}

result<void> submission_ring::ring_owner::try_out() {
  struct probe_freer {
    void operator()(io_uring_probe* probe) const noexcept { ::io_uring_free_probe(probe); }
  };
  const std::unique_ptr<io_uring_probe, probe_freer> probe(::io_uring_get_probe_ring(&ring));
  if (!probe) return error{errc::refused, 0, "io_uring_register (a seccomp profile?)"};
  for (const int opcode : {IORING_OP_SEND, IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_RECVMSG}) {
    if (!::io_uring_opcode_supported(probe.get(), opcode)) {
      return error{errc::not_supported, 0, "io_uring without send or receive"};
    }
  }
  // One request all the way round: setup may be allowed where entering is not.
  io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring);
  ::io_uring_prep_nop(sqe);
  ::io_uring_sqe_set_data64(sqe, trial_tag);
  int rc = ::io_uring_submit_and_wait(&ring, 1);
  io_uring_cqe* cqe = nullptr;
  if (rc >= 0) rc = ::io_uring_peek_cqe(&ring, &cqe);
  if (rc < 0) return refusal(-rc, "io_uring_enter (a seccomp profile?)");
  ::io_uring_cqe_seen(&ring, cqe);
  return {};
}

result<std::unique_ptr<submission_ring>> submission_ring::create() {
  auto ring = std::make_unique<ring_owner>();
  if (auto opened = ring->open(); !opened) return opened.error();
  return std::unique_ptr<submission_ring>(new submission_ring(std::move(ring)));
}

submission_ring::submission_ring(std::unique_ptr<ring_owner> ring) noexcept
    : ring_(std::move(ring)) {
  for (std::uint8_t slot = 0; slot < send_slots; ++slot) free_sends_[slot] = slot;
}

submission_ring::~submission_ring() {
  if (ring_->owner == ::getpid()) submit();
}

void submission_ring::notify(int socket, std::span<const std::byte> message) noexcept {
  if (free_send_count_ == 0) submit();
  io_uring_sqe* const sqe = free_send_count_ == 0 ? nullptr : next_sqe();
  if (sqe == nullptr) {
    ::send(socket, message.data(), message.size(), transfer_flags);
    return;
  }
  const std::uint8_t slot = free_sends_[--free_send_count_];
  if (!message.empty()) std::memcpy(sends_[slot].data(), message.data(), message.size());
  sizes_[slot] = static_cast<std::uint8_t>(message.size());
  ::io_uring_prep_send(sqe, socket, sends_[slot].data(), message.size(), transfer_flags);
  ::io_uring_sqe_set_data64(sqe, tag_of_slot(slot));
  ++held_;
}

void submission_ring::start(socket_transfer& what) noexcept {
  io_uring_sqe* const sqe = next_sqe();
  if (sqe == nullptr) return transfer_now(what);
  const bool one_piece =  // a request has 32 bits for its size
      what.message.msg_iovlen == 1 && what.message.msg_iov[0].iov_len <= INT_MAX;
  if (one_piece) {  // the kernel has no header and no list to fetch
    const iovec& all = what.message.msg_iov[0];
    if (what.receives) {
      ::io_uring_prep_recv(sqe, what.socket, all.iov_base, all.iov_len, transfer_flags);
    } else {
      ::io_uring_prep_send(sqe, what.socket, all.iov_base, all.iov_len, transfer_flags);
    }
  } else if (what.receives) {
    ::io_uring_prep_recvmsg(sqe, what.socket, &what.message, transfer_flags);
  } else {
    ::io_uring_prep_sendmsg(sqe, what.socket, &what.message, transfer_flags);
  }
  ::io_uring_sqe_set_data(sqe, &what);
  if (++held_ >= transfers_held && !what.receives) submit();
}

// Room for one more request; nullptr only if the kernel keeps refusing those before it.
io_uring_sqe* submission_ring::next_sqe() noexcept {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_->ring);
  if (sqe == nullptr) {
    submit();
    sqe = ::io_uring_get_sqe(&ring_->ring);
  }
  return sqe;
}

void submission_ring::submit() noexcept {
  for (int tries = 0; tries < submit_tries && ::io_uring_sq_ready(&ring_->ring) != 0; ++tries) {
    ::io_uring_submit(&ring_->ring);
    held_ = 0;
    reap();  // also makes room, which an older kernel may have been asking for
  }
  if (::io_uring_sq_ready(&ring_->ring) != 0) [[unlikely]]
    carry_out();
}

// A kernel that goes on refusing, for want of memory or by a seccomp filter that came later: what
// it was to do is done by plain calls, and what lies in the ring is turned into nothing.
void submission_ring::carry_out() noexcept {
  io_uring_sq& queue = ring_->ring.sq;
  // acquire: pairs with the kernel's release; what is behind the head it has read.
  const unsigned head = __atomic_load_n(queue.khead, __ATOMIC_ACQUIRE);
  for (unsigned at = head; at != *queue.ktail; ++at) {
    io_uring_sqe& sqe = queue.sqes[queue.array[at & queue.ring_mask]];
    const std::uint64_t tag = sqe.user_data;
    if (tag == trial_tag) continue;  // nothing already
    const int socket = sqe.fd;
    ::io_uring_prep_nop(&sqe);
    ::io_uring_sqe_set_data64(&sqe, trial_tag);
    if (tag <= send_slots) {
      const auto slot = static_cast<std::uint8_t>(tag - 1);
      ::send(socket, sends_[slot].data(), sizes_[slot], transfer_flags);
      free_sends_[free_send_count_++] = slot;
    } else {
      transfer_now(*reinterpret_cast<socket_transfer*>(tag));
    }
  }
}

// Takes in all completions, also those that waited in the kernel because the queue was full.
void submission_ring::reap() noexcept {
  std::array<io_uring_cqe*, 32> batch;
  unsigned count = 0;
  while ((count = ::io_uring_peek_batch_cqe(&ring_->ring, batch.data(), batch.size())) != 0) {
    for (const io_uring_cqe* cqe : std::span(batch).first(count)) {
      if (cqe->user_data == trial_tag) continue;
      if (cqe->user_data <= send_slots) {
        // How it went does not matter: a full socket wakes its reader anyway, and that a peer is
        // dead is seen by whoever watches the socket.
        free_sends_[free_send_count_++] = static_cast<std::uint8_t>(cqe->user_data - 1);
        continue;
      }
      auto* const what = reinterpret_cast<socket_transfer*>(cqe->user_data);
      what->completed(*what, cqe->res);
    }
    ::io_uring_cq_advance(&ring_->ring, count);
  }
}

}  // namespace ferry
