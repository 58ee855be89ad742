// Frames between two channels of one process: they change owner, nothing is copied or encoded.
// Threads, Lifetime, Errors   as link.h. The two ends may be on different loops.
// Source    engine/channel/README.md, "Links".
#pragma once
#include <atomic>
#include <deque>
#include <mutex>

#include "engine/channel/link.h"
#include "shm/birthplace.h"

namespace ferry {

// What two ends share: a bounded queue each way.
class memory_pipe {
 public:
  explicit memory_pipe(std::uint64_t limit_bytes) : limit(limit_bytes) {}

  struct frame {
    frame_fields fields;
    message what;
  };
  struct direction {
    std::deque<frame> frames;
    std::uint64_t bytes = 0, most_bytes = 0;
    link_sink* reader = nullptr;
    link_sink* writer = nullptr;
    // Cleared without the mutex: by the reader, and also while it is told with the mutex held.
    std::atomic<bool> reader_sleeps{false};
    bool writer_waits = false;
    bool closed = false;
  };
  const std::uint64_t limit;
  std::mutex mutex;  // held while a sink is told, so that it cannot go meanwhile
  direction ways[2];
};

class memory_link final : public channel_link {
 public:
  memory_link(std::shared_ptr<memory_pipe> pipe, int end)
      : pipe_(std::move(pipe)), out_(pipe_->ways[end]), in_(pipe_->ways[1 - end]) {}
  ~memory_link() override { leave(); }

  std::string_view type() const noexcept override { return "memory"; }
  result<void> send(const frame_fields& fields, message& what, bool urgent) override;
  std::uint64_t queued_bytes() const noexcept override;
  std::uint64_t queued_peak() const noexcept override;
  channel_peer peer() const override;

  result<void> join(loop_core& loop, loop_source& source, link_sink& sink) override;
  void limit_frames(std::uint64_t) noexcept override {}  // it allocates nothing
  void leave() noexcept override;
  void ready(std::uint8_t, const reactor_event&) override {}
  std::size_t read(std::size_t limit) override;
  bool has_input() noexcept override;
  void arm() override;
  void disarm() noexcept override;
  bool flushed() noexcept override;
  std::uint64_t activity() const noexcept override { return activity_; }
  std::optional<channel_error> lost() override;
  bool peer_gone() const noexcept override;

 private:
  birthplace made_in_;
  const std::shared_ptr<memory_pipe> pipe_;
  memory_pipe::direction& out_;
  memory_pipe::direction& in_;
  link_sink* sink_ = nullptr;
  std::uint64_t activity_ = 0;
};

}  // namespace ferry
