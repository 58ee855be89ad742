#include "engine/channel/host_connect.h"

#include <sys/socket.h>

#include <cerrno>

namespace ferry {

std::optional<host_connect::attempt> host_connect::next(clock::time_point now) {
  while (begun_ < addresses_.size()) {
    const host_address& to = addresses_[begun_++];
    trying_ = true;
    unique_fd socket(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
      const int why = errno;  // no such family here, or no descriptors
      if (why == EMFILE || why == ENFILE) code_ = errc::limit;
      failed(ferry::error{errc::system, why, "socket"}.message());
      continue;
    }
    tune_socket(socket.get(), liveness_limit_);
    const auto left = static_cast<int>(addresses_.size() - begun_);
    const auto share = (deadline_ - now) / (left + 1);
    due_ = left == 0 ? clock::time_point::max() : now + share;
    share_ = std::chrono::duration_cast<std::chrono::milliseconds>(share);
    if (::connect(socket.get(), to.get(), to.size_bytes) == 0)
      return attempt{std::move(socket), false};
    if (errno == EINPROGRESS) return attempt{std::move(socket), true};
    failed(ferry::error{errc::system, errno, "connect"}.message());
  }
  due_ = clock::time_point::max();
  return std::nullopt;
}

void host_connect::failed(const std::string& why) {
  if (!std::exchange(trying_, false)) return;
  if (!causes_.empty()) causes_ += "; ";
  causes_ += addresses_[begun_ - 1].text + ": " + why;
}

channel_error host_connect::error() const { return {code_, causes_}; }

std::string host_connect::tried() const {
  if (!trying_) return causes_;
  return causes_ + (causes_.empty() ? "" : "; ") + addresses_[begun_ - 1].text + ": no answer";
}

}  // namespace ferry
