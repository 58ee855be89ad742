// Frames as records in shared memory, with a Unix socket beside it for wakeups and the peer's end.
// Threads, Lifetime, Errors   as link.h. Bodies keep the session's memory alive.
// Source    engine/channel/README.md, "Links"; engine/README.md, "Session".
#pragma once
#include "engine/channel/addresses.h"
#include "engine/channel/link.h"
#include "engine/session/session.h"

namespace ferry {

class shm_link final : public channel_link {
 public:
  // Over a connected SEQPACKET socket. One side plays the host, the other the worker.
  shm_link(unique_fd socket, session_role role, session_options options,
           std::uint64_t max_message_bytes, std::shared_ptr<loop_core> loop);
  ~shm_link() override;

  std::string_view type() const noexcept override { return "shm+unix"; }
  result<void> send(const frame_fields& fields, message& what, bool urgent) override;
  void write_now() noexcept override;
  result<payload, channel_error> borrow(std::uint64_t size_bytes) override;
  channel_peer peer() const override { return peer_; }

  result<void> join(loop_core& loop, loop_source& source, link_sink& sink) override;
  void limit_frames(std::uint64_t max_bytes) noexcept override { max_bytes_ = max_bytes; }
  void leave() noexcept override;
  bool connecting() const noexcept override { return !session_ && !failure_; }
  void ready(std::uint8_t which, const reactor_event& event) override;
  std::size_t read(std::size_t limit) override;
  void write() noexcept override { write_now(); }
  bool has_input() noexcept override;
  void arm() override;
  void disarm() noexcept override;
  clock::time_point next_due() noexcept override;
  void tick() override;
  void want_room(bool wanted) noexcept override;
  std::uint64_t activity() const noexcept override { return activity_; }
  std::optional<channel_error> lost() override;
  bool peer_gone() const noexcept override { return socket_ended(fd()); }
  session* direct() noexcept override { return paused_ || room_wanted_ ? nullptr : session_.get(); }

 private:
  static constexpr std::size_t head_reserve = 256;  // behind what borrow() gave

  result<void> publish(const frame_fields& fields, message& what, session_core::notice when);
  void open(result<std::optional<established>, call_error> peers);
  void land(const record_fields& record, body&& content);
  int fd() const noexcept { return session_ ? session_->core().socket() : socket_.get(); }

  unique_fd socket_;  // until the session has it
  const session_role role_;
  const session_options options_;
  std::uint64_t max_bytes_;
  std::shared_ptr<loop_core> loop_;
  std::optional<offered_hello> offer_;
  std::shared_ptr<session_core> core_;  // also for other threads, once the channel is open
  std::unique_ptr<session> session_;
  channel_peer peer_;
  link_sink* sink_ = nullptr;
  bool joined_ = false;
  bool paused_ = false;
  bool room_wanted_ = false;
  bool unannounced_ = false;  // sent with the wheel in hand since write_now()
  std::optional<session_core::progress_mark> before_;  // the sends to come, tried for room
  std::uint64_t activity_ = 0;
  std::optional<channel_error> failure_;
};

}  // namespace ferry
