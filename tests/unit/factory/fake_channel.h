// A channel without a link: what it says of itself is what the test told it.
// Threads   any.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/channel/channel.h"

namespace ferry {

class fake_channel final : public channel {
 public:
  fake_channel(runtime_instance_id instance, std::string type)
      : instance_(std::move(instance)), type_(std::move(type)) {}

  void break_link(errc code = errc::unavailable) {
    const std::lock_guard lock(mutex_);
    failure_ = channel_error(code, "broken by the test");
    connected_ = false;
  }
  void set_stats(const channel_stats& stats) {
    const std::lock_guard lock(mutex_);
    stats_ = stats;
  }
  void begin_close() { connected_ = false; }
  void lose_peer() { peer_gone_ = true; }  // unnoticed, for nobody drives
  bool was_closed() const { return closed_; }

  bool is_connected() const noexcept override { return connected_; }
  bool still_connected() const noexcept override { return connected_ && !peer_gone_; }
  void close() override {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    connected_ = false;
    if (!failure_) failure_ = channel_error(errc::closed, "closed by the test");
  }
  std::optional<channel_error> failure() const override {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  channel_stats get_stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  const runtime_instance_id& instance_id() const noexcept override { return instance_; }
  std::string_view type() const noexcept override { return type_; }
  channel_peer peer() const override { return {}; }

  // Nothing travels.
  send_result send(message, send_options) override { return none(); }
  send_result send_async(message, on_sent) override { return none(); }
  result<payload, channel_error> borrow(std::uint64_t) override { return none(); }
  message_result receive(std::chrono::nanoseconds) override { return none(); }
  std::optional<message_result> try_receive() override { return std::nullopt; }
  send_result receive_async(on_answer) override { return none(); }
  void on_message(unique_function<void(message&&)>) override {}
  message_result request(message, std::chrono::nanoseconds) override { return none(); }
  send_result request_async(message, std::chrono::nanoseconds, on_answer) override {
    return none();
  }
  send_result reply(const message&, message, send_options) override { return none(); }
  void on_cancel(unique_function<void(std::uint64_t)>) override {}
  void on_closed(unique_function<void(const channel_error&)>) override {}
  ferry::loop& loop() noexcept override { std::abort(); }

 private:
  static channel_error none() { return {errc::closed, "a fake"}; }

  const runtime_instance_id instance_;
  const std::string type_;
  std::atomic<bool> connected_{true};
  std::atomic<bool> closed_{false};
  std::atomic<bool> peer_gone_{false};
  mutable std::mutex mutex_;
  std::optional<channel_error> failure_;
  channel_stats stats_;
};

}  // namespace ferry
