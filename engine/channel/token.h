// One-time tokens: 128 random bits that prove which instance a connection comes from.
// Threads   token_book: any.
// Errors    of redeem: authentication_failed, with the reason that both sides are told.
// Source    engine/channel/README.md, "Handshake".
#pragma once
#include <array>
#include <cstddef>
#include <map>
#include <mutex>

#include "engine/channel/instance_id.h"

namespace ferry {

using channel_token = std::array<std::byte, 16>;

result<channel_token> random_token();
// Takes the same time whatever differs.
bool same_token(const channel_token& a, const channel_token& b) noexcept;

// Which instance may come, and with what. Each token opens one connection.
class token_book {
 public:
  result<channel_token> issue(const runtime_instance_id& instance);  // replaces an older one
  void revoke(const runtime_instance_id& instance);
  result<void> redeem(const runtime_instance_id& instance, const channel_token& token);

 private:
  struct entry {
    channel_token token{};
    bool spent = false;
  };
  std::mutex mutex_;
  std::map<runtime_instance_id, entry> entries_;
};

}  // namespace ferry
