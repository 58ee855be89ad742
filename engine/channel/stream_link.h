// Frames over a connected byte stream: a Unix or a TCP socket, plain or through a cipher.
// Many frames leave in one gather write, many come in one read; a large body is read straight into
// memory of its own.
// Threads, Lifetime, Errors   as link.h. One write is in flight at a time.
// Source    engine/channel/README.md, "Byte streams".
#pragma once
#include <array>
#include <string>

#include "engine/channel/body_memory.h"
#include "engine/channel/frame_outbox.h"
#include "engine/channel/host_connect.h"
#include "engine/channel/link.h"
#include "engine/channel/read_buffer.h"
#include "engine/channel/stream_cipher.h"
#include "shm/birthplace.h"
#include "shm/unique_fd.h"

namespace ferry {

struct stream_limits {
  std::uint64_t message_bytes;
  std::uint64_t outbox_bytes;
};

class stream_link final : public channel_link {
 public:
  static constexpr std::size_t read_with_others = 64 << 10;  // larger bodies get memory at once
  static constexpr std::size_t written_early = 128 << 10;  // more does not wait for the turn's end

  // `type` is a literal. `connecting`: connect() has begun on the socket, which is from there.
  stream_link(unique_fd socket, std::string_view type, stream_limits limits,
              std::unique_ptr<host_connect> connecting,
              std::unique_ptr<stream_cipher> cipher = nullptr);
  ~stream_link() override;

  std::string_view type() const noexcept override { return type_; }
  result<void> send(const frame_fields& fields, message& what, bool urgent) override;
  void settle() noexcept override { outbox_.settle(); }
  void write_now() noexcept override;
  std::uint64_t queued_bytes() const noexcept override { return outbox_.queued(); }
  std::uint64_t queued_peak() const noexcept override { return outbox_.peak(); }
  channel_peer peer() const override { return peer_; }

  result<void> join(loop_core& loop, loop_source& source, link_sink& sink) override;
  void limit_frames(std::uint64_t max_bytes) noexcept override { max_bytes_ = max_bytes; }
  void leave() noexcept override;
  std::string tried() const override { return connecting_ ? connecting_->tried() : ""; }
  bool connecting() const noexcept override { return connecting_ || (cipher_ && !cipher_->open()); }
  void ready(std::uint8_t which, const reactor_event& event) override;
  std::size_t read(std::size_t limit) override;
  void write() noexcept override;
  bool has_input() noexcept override;
  void arm() override;
  clock::time_point next_due() noexcept override;
  void tick() override;
  bool flushed() noexcept override;
  std::uint64_t activity() const noexcept override { return activity_; }
  std::optional<channel_error> lost() override;
  bool peer_gone() const noexcept override { return socket_ended(socket_.get()); }

 private:
  enum class step { frame, needs_more, broken };
  step next_frame();
  void deliver(const frame_fields& fields, std::span<const std::byte> head, payload&& data);
  std::size_t prepare(std::span<iovec> into, bool only_spare);
  void pull();
  void absorb(std::int64_t outcome);
  void pull_sealed();
  void write_sealed() noexcept;
  void wrote(std::int64_t outcome, frame_outbox::after_write after) noexcept;
  void finish_connect();
  void connect_next(const std::string& why);
  void set_interest() noexcept;
  bool driving() const noexcept { return loop_ != nullptr && loop_->mine(); }
  void fail(errc code, std::string text);
  void find_peer();

  struct outgoing : socket_transfer {
    explicit outgoing(stream_link& whose) : link(whose) {}
    stream_link& link;
    std::array<iovec, 32> pieces;
    bool busy = false;
  };
  struct incoming : socket_transfer {
    explicit incoming(stream_link& whose) : link(whose) {}
    stream_link& link;
    std::array<iovec, 2> pieces;
    bool busy = false;
  };

  birthplace made_in_;
  unique_fd socket_;
  const std::string_view type_;
  std::uint64_t max_bytes_;
  const std::unique_ptr<stream_cipher> cipher_;
  frame_outbox outbox_;
  outgoing sending_{*this};
  incoming receiving_{*this};
  channel_peer peer_;
  loop_core* loop_ = nullptr;
  loop_source* source_ = nullptr;
  link_sink* sink_ = nullptr;

  read_buffer buffer_;
  frame_fields fields_;  // of the frame whose header has come
  bool has_fields_ = false;
  message large_;  // its message, while its large body comes
  fresh_body body_{};
  std::size_t body_filled_ = 0;
  bool in_body_ = false;

  std::unique_ptr<host_connect> connecting_;  // until it has succeeded
  bool readable_ = false;
  bool came_ = false;    // something that read() has not looked at
  bool ended_ = false;   // the peer sends no more
  bool paused_ = false;  // the sink wants no more for now
  std::atomic<bool> asked_for_room_{false};
  bool unwatched_ = false;
  bool read_to_end_ = false;
  std::atomic<bool> used_{true};  // since it was armed last; a hint alone
  clock::time_point idle_since_{};
  std::pair<bool, bool> interest_{true, false};  // input, room: as the reactor knows it
  std::uint64_t activity_ = 0;                   // bytes read
  std::atomic<bool> broken_write_{false};
  std::optional<channel_error> failure_;
};

}  // namespace ferry
