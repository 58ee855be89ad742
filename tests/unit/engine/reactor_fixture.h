// What the reactor's tests share: a fixture run over both kinds, and Unix socket pairs.
#pragma once
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/reactor/reactor.h"
#include "shm/unique_fd.h"

namespace ferry {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

inline constexpr auto generous = 20s;  // only ever reached by a failing test

struct socket_pair {
  unique_fd ours;
  unique_fd theirs;

  explicit socket_pair(int type = SOCK_SEQPACKET) {
    int fds[2] = {-1, -1};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) return;
    ours = unique_fd(fds[0]);
    theirs = unique_fd(fds[1]);
  }
};

inline void say(const unique_fd& socket, std::size_t byte_count = 1) {
  const std::array<char, 64> bytes{};
  ASSERT_EQ(::send(socket.get(), bytes.data(), byte_count, MSG_NOSIGNAL),
            static_cast<ssize_t>(byte_count));
}

// The size of the next message, 0 at the end of file, -1 if there is nothing.
inline ssize_t hear(const unique_fd& socket) {
  std::array<char, 64> bytes;
  return ::recv(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
}

// Waits on the descriptor with poll(): its events, 0 after `timeout`. Interruptions do not count.
inline int poll_outside(int fd, std::chrono::milliseconds timeout) {
  const auto deadline = steady::now() + timeout;
  for (;;) {
    pollfd entry{fd, POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady::now());
    const int rc = ::poll(&entry, 1, static_cast<int>(std::max(left, 0ms).count()));
    if (rc >= 0) return rc == 0 ? 0 : entry.revents;
    if (errno != EINTR) return -1;
  }
}

// Runs over both kinds; io_uring is skipped where the machine denies it.
class on_each_reactor : public testing::TestWithParam<reactor_kind> {
 protected:
  void SetUp() override {
    auto made = reactor::create(GetParam());
    if (!made && GetParam() == reactor_kind::io_uring)
      GTEST_SKIP() << "expected: " << made.error().message();
    ASSERT_TRUE(made) << made.error().message();
    loop = *std::move(made);
  }

  // Waits until there are events or `limit` has passed: 0 from a single wait() proves nothing.
  std::size_t wait_for(std::span<reactor_event> out, std::chrono::nanoseconds limit = generous) {
    const auto deadline = steady::now() + limit;
    for (;;) {
      const auto left = std::max<std::chrono::nanoseconds>(deadline - steady::now(), 0ns);
      const auto count = loop->wait(out, left);
      EXPECT_TRUE(count) << (count ? "" : count.error().message());
      if (!count || *count != 0 || left == 0ns) return count ? *count : 0;
    }
  }

  std::unique_ptr<reactor> loop;
  std::array<reactor_event, 256> events{};
};

inline std::string kind_name(const testing::TestParamInfo<reactor_kind>& info) {
  return std::string(name_of(info.param));
}

}  // namespace ferry

#define FERRY_ON_EACH_REACTOR(suite) \
  INSTANTIATE_TEST_SUITE_P(          \
      all, suite, testing::Values(reactor_kind::io_uring, reactor_kind::epoll), kind_name)
