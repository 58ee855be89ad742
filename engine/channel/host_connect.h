// Connects a TCP socket to the first of several addresses that answers: one after the other, in the
// order given. One that fails gives way at once, one that is silent when its share of the time is
// over; the last may take all that is left.
// Threads   one at a time.
// Source    engine/channel/README.md, "Several addresses".
#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/channel/addresses.h"

namespace ferry {

class host_connect {
 public:
  using clock = std::chrono::steady_clock;

  host_connect(found_addresses found, std::chrono::nanoseconds liveness_limit,
               clock::time_point deadline)
      : addresses_(std::move(found.all)),
        liveness_limit_(liveness_limit),
        deadline_(deadline),
        causes_(std::move(found.unknown)) {}

  struct attempt {
    unique_fd socket;
    bool pending;  // connect() goes on
  };
  // The next address on which a connect() can begin. nullopt: none is left, error() says why.
  std::optional<attempt> next(clock::time_point now);
  void failed(const std::string& why);  // the one that was begun last
  // When that one has had its share; max(): nothing comes after it.
  clock::time_point due() const noexcept { return due_; }
  std::chrono::milliseconds share() const noexcept { return share_; }

  channel_error error() const;
  std::string tried() const;  // each address and what came of it

 private:
  std::vector<host_address> addresses_;
  std::chrono::nanoseconds liveness_limit_;
  clock::time_point deadline_;
  std::size_t begun_ = 0;
  bool trying_ = false;
  clock::time_point due_ = clock::time_point::max();
  std::chrono::milliseconds share_{0};
  std::string causes_;
  errc code_ = errc::connection_failed;
};

}  // namespace ferry
