// After a good hello: packets that no honest peer sends, memory that is not what it says, floods,
// and segments that come and go at odd times.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <random>

#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

class hostile_socket : public side_test {
 protected:
  template <class Send>
  void expect_end_by_packet(const std::string& reason, Send&& send) {
    SCOPED_TRACE(reason);
    open_session open(GetParam());
    ASSERT_TRUE(send(open.peer));
    expect_end(*open.target, reason);
    EXPECT_TRUE(open.peer.sees_the_end());
  }
  // A record that lends 100 bytes at the start of segment `id`.
  raw_record lending(open_session& open, std::uint32_t id) {
    raw_record record = open.target->expected(open.peer);
    record.body_segment = id;
    record.body_id = 1;
    record.body_size = 100;
    return record;
  }
  static raw_record retiring(std::uint32_t id) {
    raw_record record;
    record.kind = a_retire;
    record.body_segment = id;
    return record;
  }
};
FERRY_BOTH_SIDES(hostile_socket);

// --- packets
// --------------------------------------------------------------------------------------

TEST_P(hostile_socket, a_packet_of_an_unknown_kind_ends_it) {
  for (const std::uint32_t kind : {0u, 6u, 255u, ~0u}) {
    expect_end_by_packet("unknown kind",
                         [&](hostile_peer& peer) { return peer.send(raw_header{.kind = kind}); });
  }
}

TEST_P(hostile_socket, a_second_hello_ends_it) {
  expect_end_by_packet("descriptors", [](hostile_peer& peer) { return peer.send_hello(); });
  expect_end_by_packet("unknown kind", [](hostile_peer& peer) { return peer.send(peer.hello); });
}

TEST_P(hostile_socket, a_packet_shorter_than_a_header_ends_it) {
  const std::array<std::byte, 7> bytes{};
  for (const std::size_t size : {1u, 4u, 7u}) {
    expect_end_by_packet("shorter than its header", [&](hostile_peer& peer) {
      return peer.send(std::span<const std::byte>(bytes).first(size));
    });
  }
}

TEST_P(hostile_socket, a_packet_of_another_size_than_it_says_ends_it) {
  for (const std::uint32_t size : {0u, 7u, 9u, ~0u}) {
    expect_end_by_packet("another size", [&](hostile_peer& peer) {
      return peer.send(raw_header{.kind = 4, .size_bytes = size});
    });
  }
}

TEST_P(hostile_socket, a_packet_longer_than_agreed_ends_it) {
  const std::vector<std::byte> bytes(1025);
  expect_end_by_packet("longer than agreed", [&](hostile_peer& peer) {
    return peer.send(std::span<const std::byte>(bytes));
  });
}

TEST_P(hostile_socket, a_reject_without_its_fields_ends_it) {
  expect_end_by_packet("reject packet",
                       [](hostile_peer& peer) { return peer.send(raw_header{.kind = 2}); });
}

TEST_P(hostile_socket, an_empty_packet_counts_as_the_end) {
  expect_end_by_packet("the peer died",
                       [](hostile_peer& peer) { return peer.send(std::span<const std::byte>()); });
}

TEST_P(hostile_socket, a_goodbye_is_no_reason_to_stop_before_the_end) {
  open_session open(GetParam());
  ASSERT_TRUE(open.peer.send(raw_header{.kind = 5}));
  open.peer.put(open.target->expected(open.peer));
  EXPECT_FALSE(open.target->turn(1s));
  EXPECT_EQ(open.target->kept.size(), 1u);
  open.peer.hang_up();
  expect_end(*open.target, "the peer closed the session");
}

TEST_P(hostile_socket, descriptors_where_none_belong_end_it_and_are_closed) {
  const unique_fd some(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::vector<int> fds(100, some.get());
  for (const std::size_t count : {1u, 4u, 100u}) {
    expect_end_by_packet("descriptors", [&](hostile_peer& peer) {
      return peer.send(raw_header{.kind = 4}, std::span(fds).first(count));
    });
  }
}

TEST_P(hostile_socket, a_flood_of_wakeups_costs_time_and_nothing_else) {
  open_session open(GetParam());
  for (int times = 0; times < 20; ++times) {
    int sent = 0;
    while (sent < 5000 && open.peer.send(raw_header{.kind = 4})) ++sent;
    EXPECT_GT(sent, 0);
    open.peer.put(open.target->expected(open.peer));
    ASSERT_FALSE(open.target->turn(1s));
    (void)open.target->turn(5ms);
  }
  EXPECT_EQ(open.target->kept.size(), 20u);
  open.peer.hang_up();
  expect_end(*open.target, "the peer died");
}

TEST_P(hostile_socket, a_flood_of_noise_ends_it) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int times = 0; times < 50; ++times) {
    open_session open(GetParam());
    for (int packets = 0; packets < 100; ++packets) {
      std::vector<std::byte> bytes(8 + random() % 64);
      for (std::byte& one : bytes) one = static_cast<std::byte>(random());
      const raw_header head{.kind = static_cast<std::uint32_t>(random() % 8),
                            .size_bytes = static_cast<std::uint32_t>(bytes.size())};
      std::memcpy(bytes.data(), &head, sizeof head);
      if (!open.peer.send(std::span<const std::byte>(bytes))) break;
    }
    EXPECT_TRUE(serve_to_the_end(*open.target));
  }
}

// --- segments
// -------------------------------------------------------------------------------------

TEST_P(hostile_socket, a_segment_whose_number_is_zero_or_taken_ends_it) {
  const raw_memory memory(4096);
  expect_end_by_packet("a number in use",
                       [&](hostile_peer& peer) { return peer.send_segment(0, memory); });
  expect_end_by_packet("a number in use", [&](hostile_peer& peer) {
    return peer.send_segment(3, memory) && peer.send_segment(3, memory);
  });
}

TEST_P(hostile_socket, a_segment_of_another_size_than_it_says_ends_it) {
  const raw_memory memory(8192);
  for (const std::uint64_t size : {0ull, 1ull, 4096ull, 8191ull, 8193ull, 1ull << 62, ~0ull}) {
    expect_end_by_packet("a body segment of the peer", [&](hostile_peer& peer) {
      raw_segment packet;
      packet.id = 1;
      packet.segment_bytes = size;
      const int fd = memory.fd();
      return peer.send(packet, {&fd, 1});
    });
  }
}

TEST_P(hostile_socket, a_segment_packet_cut_short_or_too_long_ends_it) {
  const raw_memory memory(4096);
  std::array<std::byte, 32> bytes{};
  for (const std::uint32_t size : {8u, 16u, 23u, 25u, 32u}) {
    expect_end_by_packet("segment packet of a wrong size", [&](hostile_peer& peer) {
      const raw_header head{.kind = 3, .size_bytes = size};
      std::memcpy(bytes.data(), &head, sizeof head);
      const int fd = memory.fd();
      return peer.send(std::span<const std::byte>(bytes).first(size), {&fd, 1});
    });
  }
}

TEST_P(hostile_socket, a_segment_without_its_one_descriptor_ends_it) {
  const raw_memory memory(4096);
  const std::vector<int> fds(50, memory.fd());
  raw_segment packet;
  packet.id = 1;
  packet.segment_bytes = 4096;
  for (const std::size_t count : {0u, 2u, 4u, 5u, 50u}) {
    expect_end_by_packet("descriptors", [&](hostile_peer& peer) {
      return peer.send(packet, std::span(fds).first(count));
    });
  }
}

TEST_P(hostile_socket, a_segment_that_is_no_sealed_memory_ends_it) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd pipe_out(ends[0]), pipe_in(ends[1]);
  memfd_recipe recipe;
  recipe.size_bytes = 8192;
  std::vector<std::pair<const char*, unique_fd>> wrong;
  recipe.seals = 0;
  wrong.emplace_back("not sealed", make_memfd(recipe));
  recipe.seals = proper_seals() & ~F_SEAL_SHRINK;
  wrong.emplace_back("not sealed", make_memfd(recipe));
  recipe.seals = proper_seals() & ~F_SEAL_FUTURE_WRITE;
  wrong.emplace_back("not sealed", make_memfd(recipe));
  recipe.seals = -1;
  recipe.take_pages = false;
  wrong.emplace_back("has holes", make_memfd(recipe));
  wrong.emplace_back("not a memfd", unique_fd(::fcntl(pipe_out.get(), F_DUPFD_CLOEXEC, 0)));
  wrong.emplace_back("not a memfd", unique_fd(::open("/dev/zero", O_RDWR | O_CLOEXEC)));
  wrong.emplace_back("not a memfd", unique_fd(::open("/", O_RDONLY | O_CLOEXEC)));
  for (const auto& [reason, fd] : wrong) {
    expect_end_by_packet(reason, [&](hostile_peer& peer) {
      raw_segment packet;
      packet.id = 1;
      packet.segment_bytes = 8192;
      const int number = fd.get();
      return peer.send(packet, {&number, 1});
    });
  }
}

TEST_P(hostile_socket, more_segments_than_the_limit_end_it) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  const std::size_t before = footprint::now().memfd_mappings;
  std::uint32_t id = 0;
  while (id < 4096) {
    while (id < 4096 && open.peer.send_segment(id + 1, memory)) ++id;
    // A client that waits for nothing reads its socket when it rests.
    ASSERT_FALSE(open.target->turn(1ms)) << "after " << id;
  }
  while (!open.peer.send_segment(5000, memory)) ASSERT_FALSE(open.target->turn(1ms));
  expect_end(*open.target, "too many body segments");
  EXPECT_GE(footprint::now().memfd_mappings, before);
}

TEST_P(hostile_socket, a_full_descriptor_table_is_named) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const unique_fd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit full = before;
  full.rlim_cur = static_cast<rlim_t>(next.get()) + 1;  // all below are taken
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &full), 0);
  const auto over = serve_to_the_end(*open.target);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(over);
  EXPECT_NE(over->text.find("RLIMIT_NOFILE"), std::string::npos) << over->message();
}

// --- retired segments
// -----------------------------------------------------------------------------

TEST_P(hostile_socket, a_segment_that_was_never_sent_cannot_be_retired) {
  for (const std::uint32_t id : {0u, 1u, ~0u}) {
    open_session open(GetParam());
    open.peer.put(retiring(id));
    expect_end(*open.target, "never sent");
  }
}

TEST_P(hostile_socket, a_body_stays_readable_after_its_segment_was_retired_and_its_peer_died) {
  open_session open(GetParam());
  {
    const raw_memory memory(4096);
    std::memset(memory.bytes().data(), 'x', 4096);
    ASSERT_TRUE(open.peer.send_segment(1, memory));
    open.peer.put(lending(open, 1));
    ASSERT_FALSE(open.target->turn(1s));
  }
  ASSERT_EQ(open.target->kept.size(), 1u);
  open.peer.put(retiring(1));
  expect_life(*open.target);
  EXPECT_EQ(open.target->kept[0].text(), std::string(100, 'x'));
  open.peer.put(lending(open, 1));  // but nothing new lies in it
  expect_end(*open.target, "never sent");
  EXPECT_EQ(open.target->kept[0].text(), std::string(100, 'x'));
}

TEST_P(hostile_socket, a_segment_retired_before_it_was_read_is_not_kept) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  // First something to serve, so that the socket is not looked at in between.
  for (std::uint32_t id = 1; id <= 20; ++id) {
    open.peer.put(open.target->expected(open.peer));
    ASSERT_TRUE(open.peer.send_segment(id, memory));
    open.peer.put(retiring(id));
  }
  const std::size_t before = footprint::now().memfd_mappings;
  expect_life(*open.target);
  EXPECT_EQ(open.target->kept.size(), 20u);
  EXPECT_EQ(footprint::now().memfd_mappings, before);
}

TEST_P(hostile_socket, retiring_lets_the_mapping_go) {
  open_session open(GetParam());
  const raw_memory memory(4096);
  ASSERT_TRUE(open.peer.send_segment(1, memory));
  const std::size_t before = footprint::now().memfd_mappings;
  open.peer.put(lending(open, 1));
  ASSERT_FALSE(open.target->turn(1s));
  EXPECT_EQ(footprint::now().memfd_mappings, before + 1);
  open.target->kept.clear();
  open.peer.put(retiring(1));
  expect_life(*open.target);
  EXPECT_EQ(footprint::now().memfd_mappings, before);
}

}  // namespace
}  // namespace ferry
