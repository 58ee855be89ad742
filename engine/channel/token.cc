#include "engine/channel/token.h"

#include <sys/random.h>

#include <cerrno>
#include <utility>

namespace ferry {

result<channel_token> random_token() {
  channel_token token;
  if (::getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size())) {
    return error{errc::system, errno, "getrandom"};
  }
  return token;
}

bool same_token(const channel_token& a, const channel_token& b) noexcept {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    // volatile: no compiler may stop at the first difference.
    const volatile unsigned one = std::to_integer<unsigned>(a[i] ^ b[i]);
    difference |= one;
  }
  return difference == 0;
}

result<channel_token> token_book::issue(const runtime_instance_id& instance) {
  auto token = random_token();
  if (!token) return token;
  const std::lock_guard guard(mutex_);
  entries_.insert_or_assign(instance, entry{*token, false});
  return token;
}

void token_book::revoke(const runtime_instance_id& instance) {
  const std::lock_guard guard(mutex_);
  entries_.erase(instance);
}

result<void> token_book::redeem(const runtime_instance_id& instance, const channel_token& token) {
  const std::lock_guard guard(mutex_);
  const auto found = entries_.find(instance);
  // One that is not there is compared too: the time tells nobody which instances are expected.
  static constexpr channel_token nobody{};
  const bool same = same_token(found == entries_.end() ? nobody : found->second.token, token);
  if (found == entries_.end() || !same) {
    return error{errc::authentication_failed, 0, "a wrong token"};
  }
  if (std::exchange(found->second.spent, true)) {
    return error{errc::authentication_failed, 0, "a token that was used already"};
  }
  return {};
}

}  // namespace ferry
