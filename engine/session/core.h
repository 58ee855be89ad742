// The sending half of a session and everything that outlives its driver: our memory, what we lent,
// the way back for what the peer lent us. Shared by the session, its loans and the bodies it gave
// out.
// Threads   every member may be called from any thread.
// Lifetime  held by shared_ptr: the mappings and the socket live until the last body and loan go.
// Errors    full: no room in the ring or the loan book now.  no_memory, limit: see body_arena.h.
//           corrupt, unavailable, closed: the session is over; failure() says why.
// Source    engine/README.md, "Session".
#pragma once
#include <atomic>
#include <memory>
#include <mutex>

#include "engine/body.h"
#include "engine/session/hello.h"
#include "engine/session/small_pool.h"
#include "shm/loan_book.h"

namespace ferry {

class session_core final : public body_owner, public std::enable_shared_from_this<session_core> {
 public:
  // Hellos over `socket` (SEQPACKET, owned from here on); blocks up to options.hello_timeout.
  static result<std::shared_ptr<session_core>, call_error> open(unique_fd socket, session_role role,
                                                                session_options options);
  // Over a socket on which both hellos have been exchanged.
  static std::shared_ptr<session_core> adopt(unique_fd socket, session_options options,
                                             established peers);
  ~session_core() override;

  // --- bodies ---------------------------------------------------------------------------------
  // Memory for a body of `size_bytes`: from the small pool up to inline_limit, else from the arena.
  result<loan> borrow(std::uint64_t size_bytes);
  // Copies small bytes that lie in a ring, where they begin a cache line, into a body of their own.
  body snapshot(std::span<const std::byte> bytes);
  // A body of the peer that we have finished reading.
  void return_body(std::uint32_t id) noexcept;
  // Takes back what the peer has returned. True if anything came.
  bool collect_returns() noexcept;
  // After the end: takes back all that the peer held and gives the memory back to the machine,
  // though bodies and loans may keep this object alive for long. Idempotent.
  void reclaim() noexcept;
  // Gives idle memory back to the machine; `all`: without waiting until it has been idle for long.
  std::size_t trim(bool all);

  // --- sending --------------------------------------------------------------------------------
  // Publishes a record and wakes the peer if it sleeps. Bytes above inline_limit are copied into
  // the arena first. After notice::later the caller owes an announce(): see ringer::glance.
  enum class notice { now, later };
  result<void> send(const record_fields& fields, std::span<const std::byte> body = {},
                    notice when = notice::now);
  // The same, handing the loan over; on failure it is still the caller's, for another try.
  result<void> send(record_fields fields, loan& body, notice when = notice::now);
  bool owns(const loan& body) const noexcept { return body.core_.get() == this; }
  // Whether any record would find room now.
  bool has_room() noexcept { return over() || records_.has_room(options_.inline_limit); }
  // How far the peer has come with what it reads and gives back. Taken before a send that finds no
  // room, in the ring or among the bodies that it may hold, it says when to try again.
  struct progress_mark {
    std::uint64_t read;      // bytes of the ring
    std::uint64_t returned;  // bodies
  };
  progress_mark peer_progress() const noexcept {
    // relaxed: compared, no more; whoever sends then looks for itself.
    return {theirs_->records_read.position.load(std::memory_order_relaxed),
            taken_back_.load(std::memory_order_relaxed)};
  }
  bool room_came_since(const progress_mark& mark) noexcept;
  // Tells the peer that positions moved, if it sleeps for want of room.
  void announce(news what) noexcept;

  // --- end ------------------------------------------------------------------------------------
  // The first failure wins; the peer learns by the end of the socket. Idempotent.
  void fail(errc code, std::string text) noexcept;
  void close() noexcept;  // an orderly end: bye, then the end of the socket
  bool over() const noexcept { return over_.load(std::memory_order_acquire) || forked(); }
  // In a forked child: the session is its parent's, and nothing of it may be touched here.
  bool forked() const noexcept { return made_in_.left(); }
  call_error failure() const;          // why it is over
  bool peer_hung_up() const noexcept;  // asks the socket, without reading it

  // --- for the driver -------------------------------------------------------------------------
  const session_options& options() const noexcept { return options_; }
  int socket() const noexcept { return socket_.get(); }
  control_block& mine() noexcept { return *mine_; }
  const control_block& theirs() const noexcept { return *theirs_; }
  std::span<const std::byte> peer_ring() const noexcept { return peer_ring_; }
  std::uint64_t peer_key() const noexcept { return peer_key_; }
  std::uint32_t peer_pid() const noexcept { return peer_pid_; }
  // Both sides read the same clock: when the peer says that it sent a record means something.
  bool same_clock() const noexcept { return same_clock_; }
  body_arena& arena() noexcept { return arena_; }
  const loan_book& lent() const noexcept { return book_; }

  void give_back(const std::byte* data, std::uint32_t id) noexcept override;  // small_pool

 private:
  friend class loan;
  session_core(unique_fd socket, session_options options, established peers);
  void release(loan& unsent) noexcept;
  // Into the ring, unannounced. A position that cannot be ends the session.
  result<void> push(const record_fields& fields, std::span<const std::byte> body = {});
  void tell(notice when) noexcept;
  void ring(wake how) noexcept;
  result<void> send_segment(std::uint32_t id, const own_segment& segment);
  result<void> retire_segment(std::uint32_t id);

  const session_options options_;
  birthplace made_in_;
  unique_fd socket_;
  own_segment control_;
  peer_segment peer_control_;
  control_block* mine_;
  const control_block* theirs_;
  std::span<const std::byte> peer_ring_;
  std::uint64_t peer_key_;
  std::uint32_t peer_pid_;
  bool same_clock_;

  record_producer<> records_;
  returns_producer<> returns_;
  ringer<> ringer_;
  small_pool pool_;
  body_arena arena_;
  loan_book book_;
  returns_consumer<> returned_;  // guarded by collecting_
  std::atomic_flag collecting_ = ATOMIC_FLAG_INIT;
  std::atomic<std::uint64_t> taken_back_{0};  // bodies; written while collecting

  std::atomic<bool> over_{false};
  mutable std::mutex failure_mutex_;
  call_error failure_;
};

}  // namespace ferry
