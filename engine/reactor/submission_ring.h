// An io_uring that sends: wakeups and transfers of many sockets leave in one system call. Nothing
// in it ever waits, so whatever it was given has completed when submit() returns.
// Threads   one at a time, and it may be a different one each time.
// Lifetime  sockets stay open, transfers where they are, until the next submit(). A forked child
//           may destroy its parent's, nothing else.
// Errors    of create(): refused, not_supported (needs Linux 5.11), system.
// Source    engine/reactor/README.md.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/reactor/reactor.h"

struct io_uring_sqe;

namespace ferry {

class submission_ring {
 public:
  // Tries the ring out, so that a kernel setting or a seccomp profile is found here and not in the
  // middle of a session.
  static result<std::unique_ptr<submission_ring>> create();
  ~submission_ring();

  // As those of the reactor.
  void notify(int socket, std::span<const std::byte> message) noexcept;
  void start(socket_transfer& what) noexcept;
  // What the kernel refuses several times is done by plain calls.
  void submit() noexcept;

 private:
  static constexpr std::size_t send_slots = 32;  // messages held back at once, 16 bytes each

  struct ring_owner;
  explicit submission_ring(std::unique_ptr<ring_owner> ring) noexcept;
  io_uring_sqe* next_sqe() noexcept;
  void reap() noexcept;
  void carry_out() noexcept;

  std::unique_ptr<ring_owner> ring_;
  std::array<std::array<std::byte, notify_max_bytes>, send_slots> sends_;
  std::array<std::uint8_t, send_slots> sizes_;  // of what waits in `sends_`
  std::array<std::uint8_t, send_slots> free_sends_;
  std::size_t free_send_count_ = send_slots;
  unsigned held_ = 0;  // prepared since the last submission
};

}  // namespace ferry
