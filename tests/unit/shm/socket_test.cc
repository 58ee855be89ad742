#include "shm/socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "tests/unit/shm/child.h"

namespace ferry {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

struct connected {  // fixture: both ends and something to receive into
  std::pair<unique_fd, unique_fd> ends = std::move(*socket_pair());
  int here = ends.first.get();
  int there = ends.second.get();
  std::array<std::byte, 64> buffer{};

  std::string_view text(std::size_t size) const {
    return {reinterpret_cast<const char*>(buffer.data()), size};
  }
};

// Past our own limit: what a hostile peer can send.
bool send_many(int socket, std::size_t fd_count) {
  char byte = 'x';
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 64)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
  const std::vector<int> fds(fd_count, 0);
  std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fd_count);
  return ::sendmsg(socket, &message, 0) == 1;
}

TEST(socket, keeps_the_borders_of_packets) {
  connected peers;
  ASSERT_TRUE(send_packet(peers.here, bytes_of("one")));
  ASSERT_TRUE(send_packet(peers.here, bytes_of("three")));
  auto first = receive_packet(peers.there, peers.buffer);
  ASSERT_TRUE(first);
  EXPECT_EQ(peers.text(first->size_bytes), "one");
  EXPECT_EQ(first->fd_count, 0u);
  auto second = receive_packet(peers.there, peers.buffer);
  ASSERT_TRUE(second);
  EXPECT_EQ(peers.text(second->size_bytes), "three");
  EXPECT_EQ(receive_packet(peers.there, peers.buffer).error().code, errc::empty);
}

TEST(socket, delivers_a_packet_as_long_as_the_buffer) {
  connected peers;
  const std::vector<std::byte> sent(peers.buffer.size());
  ASSERT_TRUE(send_packet(peers.here, sent));
  EXPECT_EQ(receive_packet(peers.there, peers.buffer)->size_bytes, sent.size());
}

TEST(socket, rejects_a_packet_longer_than_the_buffer_and_closes_its_descriptors) {
  connected peers;
  const std::vector<std::byte> sent(peers.buffer.size() + 1);
  const std::array<int, 1> fds{0};
  ASSERT_TRUE(send_packet(peers.here, sent, fds));
  const std::size_t before = open_descriptors();
  const auto got = receive_packet(peers.there, peers.buffer);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, errc::corrupt);
  EXPECT_EQ(got.error().wanted, sent.size());
  EXPECT_EQ(got.error().allowed, peers.buffer.size());
  EXPECT_EQ(open_descriptors(), before);
}

TEST(socket, refuses_to_send_an_empty_packet_or_five_descriptors) {
  connected peers;
  EXPECT_EQ(send_packet(peers.here, {}).error().code, errc::bad_argument);
  const std::array<int, max_packet_fds + 1> fds{};
  EXPECT_EQ(send_packet(peers.here, bytes_of("x"), fds).error().code, errc::bad_argument);
  EXPECT_EQ(receive_packet(peers.there, peers.buffer).error().code, errc::empty);
}

TEST(socket, passes_one_to_four_descriptors_close_on_exec) {
  for (std::size_t count = 1; count <= max_packet_fds; ++count) {
    connected peers;
    const std::array<int, max_packet_fds> fds{peers.here, peers.there, peers.here, peers.there};
    ASSERT_TRUE(send_packet(peers.here, bytes_of("fds"), std::span(fds).first(count)));
    const std::size_t before = open_descriptors();
    {
      auto got = receive_packet(peers.there, peers.buffer);
      ASSERT_TRUE(got) << got.error().message();
      ASSERT_EQ(got->fd_count, count);
      for (std::size_t i = 0; i < max_packet_fds; ++i) {
        EXPECT_EQ(static_cast<bool>(got->fds[i]), i < count);
        if (!got->fds[i]) continue;
        EXPECT_EQ(::fcntl(got->fds[i].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
      }
    }
    EXPECT_EQ(open_descriptors(), before);
  }
}

TEST(socket, rejects_more_descriptors_than_four_and_keeps_none) {
  for (const std::size_t count : {5u, 12u, 64u}) {
    connected peers;
    ASSERT_TRUE(send_many(peers.here, count));
    const std::size_t before = open_descriptors();
    const auto got = receive_packet(peers.there, peers.buffer);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, errc::corrupt);
    EXPECT_STREQ(got.error().what, "too many descriptors");
    EXPECT_EQ(open_descriptors(), before);
  }
}

TEST(socket, ignores_credentials_beside_four_descriptors) {
  connected peers;
  const int on = 1;
  ASSERT_EQ(::setsockopt(peers.there, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  const std::array<int, max_packet_fds> fds{};
  ASSERT_TRUE(send_packet(peers.here, bytes_of("x"), fds));
  auto got = receive_packet(peers.there, peers.buffer);
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->fd_count, max_packet_fds);
}

TEST(socket, names_the_limit_when_the_receivers_descriptor_table_is_full) {
  for (const rlim_t room : {0u, 1u, 3u}) {
    EXPECT_EQ(
        run_in_child([room] {
          connected peers;
          const std::array<int, max_packet_fds> fds{};
          CHILD_EXPECT(send_packet(peers.here, bytes_of("x"), fds));
          CHILD_EXPECT(send_packet(peers.here, bytes_of("next")));
          const std::size_t before = open_descriptors();
          const int lowest_free = ::fcntl(0, F_DUPFD, 0);
          ::close(lowest_free);
          const rlimit old = [] {
            rlimit now{};
            ::getrlimit(RLIMIT_NOFILE, &now);
            return now;
          }();
          const rlimit tight{static_cast<rlim_t>(lowest_free) + room, old.rlim_max};
          CHILD_EXPECT(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
          const auto got = receive_packet(peers.there, peers.buffer);
          CHILD_EXPECT(::setrlimit(RLIMIT_NOFILE, &old) == 0);
          CHILD_EXPECT(!got && got.error().code == errc::limit);
          CHILD_EXPECT(std::strstr(got.error().what, "RLIMIT_NOFILE") != nullptr);
          CHILD_EXPECT(open_descriptors() == before);
          CHILD_EXPECT(receive_packet(peers.there, peers.buffer)->size_bytes == 4);  // still usable
          return 0;
        }),
        0)
        << "room for " << room;
  }
}

TEST(socket, names_the_limit_when_no_pair_can_be_made) {
  EXPECT_EQ(
      run_in_child([] {
        const rlimit none{3, 3};
        CHILD_EXPECT(::setrlimit(RLIMIT_NOFILE, &none) == 0);
        const auto made = socket_pair();
        CHILD_EXPECT(!made && made.error().code == errc::limit && made.error().sys_errno == EMFILE);
        return 0;
      }),
      0);
}

TEST(socket, reports_full_and_recovers_when_the_peer_reads) {
  connected peers;
  const std::array<std::byte, 64> sent{};
  std::size_t in_flight = 0;
  result<void> last;
  while ((last = send_packet(peers.here, sent)) && in_flight < 1'000'000) ++in_flight;
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, errc::full);
  for (; in_flight > 0; --in_flight) ASSERT_TRUE(receive_packet(peers.there, peers.buffer));
  EXPECT_TRUE(send_packet(peers.here, sent));
}

TEST(socket, sending_to_a_peer_that_is_gone_is_unavailable_and_no_signal) {
  connected peers;
  peers.ends.second = {};
  EXPECT_EQ(send_packet(peers.here, bytes_of("x")).error().code, errc::unavailable);
}

TEST(socket, receiving_from_a_peer_that_died_gives_its_last_words_then_unavailable) {
  connected peers;
  ASSERT_TRUE(send_packet(peers.here, bytes_of("never read")));  // so that its end is a reset
  ASSERT_EQ(run_in_child([&] { return send_packet(peers.there, bytes_of("last")) ? 0 : 1; }), 0);
  peers.ends.second = {};
  const auto last = receive_packet(peers.here, peers.buffer);
  ASSERT_TRUE(last) << last.error().message();
  EXPECT_EQ(peers.text(last->size_bytes), "last");
  EXPECT_EQ(receive_packet(peers.here, peers.buffer).error().code, errc::unavailable);
  EXPECT_EQ(receive_packet(peers.here, peers.buffer).error().code, errc::unavailable);
}

TEST(socket, a_closed_descriptor_is_a_system_error) {
  std::array<std::byte, 8> buffer{};
  EXPECT_EQ(receive_packet(-1, buffer).error().sys_errno, EBADF);
  EXPECT_EQ(send_packet(-1, buffer).error().sys_errno, EBADF);
}

}  // namespace
}  // namespace ferry
