// A good side meets a peer whose hello is wrong in one way: it says what is wrong, tells the peer,
// and keeps nothing. Every case is played to a client and to a worker.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <random>
#include <thread>

#include "tests/fault/victim.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

class hostile_hello : public side_test {
 protected:
  // The victim meets a peer that has spoken already.
  call_error meet(hostile_peer& peer, std::chrono::nanoseconds patience = 5s) {
    session_options options = small_session();
    options.hello_timeout = patience;
    const auto target = victim::make(GetParam(), options);
    auto refused = target->meet(peer.victims_end());
    EXPECT_TRUE(refused) << "accepted";
    return refused ? *refused : call_error{};
  }

  // The victim refuses with this code, names `what`, and has told the peer the same.
  void expect_refusal(hostile_peer& peer, errc code, const std::string& what) {
    const call_error why = meet(peer);
    EXPECT_EQ(why.code, code) << why.message();
    EXPECT_NE(why.text.find(what), std::string::npos) << why.message();
    EXPECT_FALSE(why.maybe_executed);
    EXPECT_EQ(peer.receive().kind(), 1u) << "its own hello comes first";
    const raw_packet told = peer.receive();
    EXPECT_EQ(told.kind(), 2u) << "then the reason";
    EXPECT_EQ(told.code(), static_cast<std::uint32_t>(code));
    EXPECT_EQ(told.text(), why.text);
    EXPECT_TRUE(peer.sees_the_end());
  }

  // A hello with one thing spoilt.
  void expect_refusal(errc code, const std::string& what,
                      const std::function<void(raw_hello&)>& spoil) {
    SCOPED_TRACE(what);
    hostile_peer peer(opposite_of(GetParam()));
    spoil(peer.hello);
    ASSERT_TRUE(peer.send_hello());
    expect_refusal(peer, code, what);
  }

  // A good hello with another descriptor, or with none or several.
  void expect_refusal_of(const std::string& what, std::span<const int> fds) {
    SCOPED_TRACE(what);
    hostile_peer peer(opposite_of(GetParam()));
    ASSERT_TRUE(peer.send(peer.hello, fds));
    expect_refusal(peer, errc::corrupt, what);
  }
  void expect_refusal_of(const std::string& what, const unique_fd& fd) {
    ASSERT_TRUE(fd) << what;
    const int number = fd.get();
    expect_refusal_of(what, {&number, 1});
  }

  // A memfd with the contents of an honest control segment.
  unique_fd control_like(const std::function<void(memfd_recipe&)>& change) {
    const hostile_peer honest(opposite_of(GetParam()));
    memfd_recipe recipe;
    recipe.size_bytes = honest.control->bytes().size();
    recipe.begin_with = honest.control->bytes().first(4096);
    change(recipe);
    return make_memfd(recipe);
  }
};
FERRY_BOTH_SIDES(hostile_hello);

TEST_P(hostile_hello, an_honest_one_is_accepted_whatever_its_pid_and_spare_field_say) {
  for (const std::uint32_t odd : {0u, ~0u}) {
    hostile_peer peer(opposite_of(GetParam()));
    peer.hello.pid = odd;
    peer.hello.zero = odd;
    ASSERT_TRUE(peer.send_hello());
    const auto target = victim::make(GetParam());
    EXPECT_FALSE(target->meet(peer.victims_end()));
    EXPECT_TRUE(peer.take_hello());
    EXPECT_EQ(peer.victims_hello().role, GetParam() == side::client ? 1 : 2);
    expect_life(*target);
  }
}

TEST_P(hostile_hello, a_wrong_magic_is_named) {
  for (const std::uint32_t magic : {0u, ~0u, 0x59525247u, 0x46525259u}) {
    expect_refusal(errc::corrupt, fmt::format("{:#010x}", magic),
                   [&](raw_hello& hello) { hello.magic = magic; });
  }
}

TEST_P(hostile_hello, another_version_is_refused_on_both_sides_with_both_numbers) {
  for (const int version : {0, 2, 255, 65535}) {
    expect_refusal(errc::version_mismatch, fmt::format("the peer speaks {}, this side 1", version),
                   [&](raw_hello& hello) { hello.version = static_cast<std::uint16_t>(version); });
  }
}

TEST_P(hostile_hello, another_version_is_known_by_its_first_16_bytes) {
  for (const std::size_t size_bytes : {16u, 24u, 71u, 72u, 200u, 1024u}) {
    SCOPED_TRACE(size_bytes);
    hostile_peer peer(opposite_of(GetParam()));
    peer.hello.version = 2;
    peer.hello.size_bytes = static_cast<std::uint32_t>(size_bytes);
    std::vector<std::byte> packet(size_bytes);
    std::memcpy(packet.data(), &peer.hello, std::min(size_bytes, sizeof peer.hello));
    ASSERT_TRUE(peer.send(packet));
    expect_refusal(peer, errc::version_mismatch, "the peer speaks 2, this side 1");
  }
}

TEST_P(hostile_hello, a_wrong_kind_or_size_in_its_header_is_named) {
  for (const std::uint32_t kind : {0u, 3u, 4u, 5u, 6u, ~0u}) {
    expect_refusal(errc::corrupt, "not a hello", [&](raw_hello& hello) { hello.kind = kind; });
  }
  for (const std::uint32_t size : {0u, 71u, 73u, ~0u}) {
    expect_refusal(errc::corrupt, fmt::format("says that it has {}", size),
                   [&](raw_hello& hello) { hello.size_bytes = size; });
  }
}

TEST_P(hostile_hello, a_role_that_is_not_the_other_one_is_refused) {
  expect_refusal(errc::corrupt, "same role",
                 [&](raw_hello& hello) { hello.role = GetParam() == side::client ? 1 : 2; });
  for (const int role : {0, 3, 7, 65535}) {
    expect_refusal(errc::corrupt, fmt::format("role {}", role),
                   [&](raw_hello& hello) { hello.role = static_cast<std::uint16_t>(role); });
  }
}

TEST_P(hostile_hello, a_feature_that_one_side_needs_and_the_other_lacks_is_named) {
  for (const int bit : {7, 31, 63}) {
    const std::uint64_t unknown = std::uint64_t{1} << bit;
    expect_refusal(errc::version_mismatch,
                   fmt::format("the peer needs features that this side lacks: {:#x}", unknown),
                   [&](raw_hello& hello) { hello.features_required |= unknown; });
  }
  expect_refusal(errc::version_mismatch, "the peer lacks features that this side needs: 0x1",
                 [](raw_hello& hello) { hello.features_offered = 2; });
}

TEST_P(hostile_hello, an_impossible_ring_size_is_refused) {
  for (const std::uint64_t size :
       {0ull, 1ull, 64ull, 2048ull, 4097ull, 5000ull, 1ull << 27, 1ull << 63, ~0ull, ~0ull << 12}) {
    expect_refusal(errc::corrupt, fmt::format("ring size {}", size),
                   [&](raw_hello& hello) { hello.ring_bytes = size; });
  }
}

TEST_P(hostile_hello, an_impossible_returns_ring_is_refused) {
  for (const std::uint64_t cells :
       {0ull, 1ull, 8ull, 17ull, 1ull << 17, 1ull << 32, 1ull << 63, ~0ull}) {
    expect_refusal(errc::corrupt, fmt::format("returns ring of {} cells", cells),
                   [&](raw_hello& hello) { hello.returns_cells = cells; });
  }
}

TEST_P(hostile_hello, a_control_segment_of_another_size_than_the_rings_take_is_refused) {
  for (const std::uint64_t bytes : {0ull, 1ull, 4096ull, 8191ull, 12288ull, 1ull << 40, ~0ull}) {
    expect_refusal(errc::corrupt, fmt::format("control segment of {} bytes", bytes),
                   [&](raw_hello& hello) { hello.control_bytes = bytes; });
  }
}

TEST_P(hostile_hello, larger_rings_need_the_memory_that_they_announce) {
  // Consistent in itself, but the descriptor is the small one.
  expect_refusal(errc::corrupt, "size differs", [](raw_hello& hello) {
    hello.ring_bytes = 64 << 20;
    hello.control_bytes = 4096 + (64 << 20);
  });
}

TEST_P(hostile_hello, a_packet_cut_short_anywhere_is_refused) {
  for (std::size_t size_bytes = 1; size_bytes < sizeof(raw_hello); ++size_bytes) {
    SCOPED_TRACE(size_bytes);
    hostile_peer peer(opposite_of(GetParam()));
    const int fd = peer.control->fd();
    ASSERT_TRUE(peer.send(std::as_bytes(std::span(&peer.hello, 1)).first(size_bytes), {&fd, 1}));
    const char* why = size_bytes < 8    ? "too short for a hello"
                      : size_bytes < 16 ? "not a hello"
                                        : "bytes, not 72";
    expect_refusal(peer, errc::corrupt, why);
  }
}

TEST_P(hostile_hello, a_packet_that_is_too_long_is_refused) {
  for (const std::size_t size_bytes : {73u, 80u, 1024u}) {
    hostile_peer peer(opposite_of(GetParam()));
    const int fd = peer.control->fd();
    peer.hello.size_bytes = static_cast<std::uint32_t>(size_bytes);
    std::vector<std::byte> packet(size_bytes);
    std::memcpy(packet.data(), &peer.hello, sizeof peer.hello);
    ASSERT_TRUE(peer.send(packet, {&fd, 1}));
    expect_refusal(peer, errc::corrupt, fmt::format("{} bytes, not 72", size_bytes));
  }
  for (const std::size_t size_bytes : {1025u, 4096u, 60000u}) {
    hostile_peer peer(opposite_of(GetParam()));
    const int fd = peer.control->fd();
    std::vector<std::byte> packet(size_bytes);
    std::memcpy(packet.data(), &peer.hello, sizeof peer.hello);
    ASSERT_TRUE(peer.send(packet, {&fd, 1}));
    expect_refusal(peer, errc::corrupt, "packet longer than agreed");
  }
}

TEST_P(hostile_hello, noise_is_refused) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int times = 0; times < 300; ++times) {
    hostile_peer peer(opposite_of(GetParam()));
    std::vector<std::byte> packet(1 + random() % 1024);
    for (std::byte& one : packet) one = static_cast<std::byte>(random());
    if (random() % 2 != 0) {  // noise behind a good beginning gets further
      // Behind the sizes lie an epoch and a pid: there any bytes are as good as others.
      const std::size_t most = packet.size() == sizeof peer.hello
                                   ? offsetof(decltype(peer.hello), returns_cells)
                                   : sizeof peer.hello;
      const std::size_t kept = std::min<std::size_t>(packet.size(), random() % most);
      std::memcpy(packet.data(), &peer.hello, kept);
    }
    const int fd = peer.control->fd();
    ASSERT_TRUE(peer.send(packet, random() % 2 != 0 ? std::span(&fd, 1) : std::span<const int>()));
    const call_error why = meet(peer);
    EXPECT_FALSE(why.text.empty());
  }
}

// --- descriptors
// ----------------------------------------------------------------------------------

TEST_P(hostile_hello, exactly_one_descriptor_comes_with_it) {
  const hostile_peer honest(opposite_of(GetParam()));
  const std::vector<int> fds(200, honest.control->fd());
  for (const std::size_t count : {0u, 2u, 3u, 4u}) {
    expect_refusal_of(fmt::format("carries {} descriptors, not 1", count),
                      std::span(fds).first(count));
  }
  for (const std::size_t count : {5u, 20u, 200u}) {
    expect_refusal_of("too many descriptors", std::span(fds).first(count));
  }
}

TEST_P(hostile_hello, what_is_no_memory_file_is_refused) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd pipe_out(ends[0]), pipe_in(ends[1]);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const unique_fd here(ends[0]), there(ends[1]);
  for (const unique_fd* fd : {&pipe_out, &pipe_in, &here}) expect_refusal_of("not a memfd", *fd);
  for (const char* path : {"/dev/zero", "/dev/null", "/proc/self/exe", "/proc/self/maps"}) {
    expect_refusal_of("not a memfd", unique_fd(::open(path, O_RDONLY | O_CLOEXEC)));
  }
  expect_refusal_of("not a memfd", unique_fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  const unique_fd memory = control_like([](auto&) {});
  const std::string path = fmt::format("/proc/self/fd/{}", memory.get());
  expect_refusal_of("not a memfd", unique_fd(::open(path.c_str(), O_PATH | O_CLOEXEC)));
}

TEST_P(hostile_hello, a_regular_file_is_refused) {
  unique_fd file(::open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) file = unique_fd(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) GTEST_SKIP() << "expected: no file system here makes unnamed files";
  const hostile_peer honest(opposite_of(GetParam()));
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(honest.hello.control_bytes)), 0);
  // On tmpfs a file has seals, but none of ours; elsewhere it has none at all.
  expect_refusal_of("peer memory: not", file);
}

TEST_P(hostile_hello, memory_whose_seals_are_not_all_there_is_refused) {
  for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL}) {
    expect_refusal_of("not sealed", control_like([&](memfd_recipe& recipe) {
                        recipe.seals = proper_seals() & ~missing;
                      }));
  }
  expect_refusal_of("not sealed", control_like([](memfd_recipe& recipe) { recipe.seals = 0; }));
}

TEST_P(hostile_hello, memory_of_another_size_or_with_holes_is_refused) {
  for (const std::uint64_t size : {4096u, 8191u, 8193u, 1u << 20}) {
    expect_refusal_of("size differs",
                      control_like([&](memfd_recipe& recipe) { recipe.size_bytes = size; }));
  }
  expect_refusal_of("no bytes", make_memfd({.begin_with = {}}));
  expect_refusal_of("has holes",
                    control_like([](memfd_recipe& recipe) { recipe.take_pages = false; }));
}

TEST_P(hostile_hello, memory_that_cannot_be_read_is_refused) {
  const unique_fd memory = control_like([](memfd_recipe& recipe) { recipe.seals = 0; });
  const std::string path = fmt::format("/proc/self/fd/{}", memory.get());
  const unique_fd write_only(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(write_only);
  ASSERT_EQ(::fcntl(memory.get(), F_ADD_SEALS, proper_seals()), 0);
  expect_refusal_of("not readable", write_only);
}

TEST_P(hostile_hello, huge_pages_are_refused) {
  const unique_fd huge(::memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (!huge) GTEST_SKIP() << "expected: this kernel has no huge page files";
  hostile_peer peer(opposite_of(GetParam()), 2 << 20);
  // The size that a ring of 2 MiB takes is no multiple of a huge page, so the file cannot have it.
  ASSERT_EQ(::ftruncate(huge.get(), 4 << 20), 0);
  ASSERT_EQ(::fcntl(huge.get(), F_ADD_SEALS, proper_seals()), 0);
  const int fd = huge.get();
  ASSERT_TRUE(peer.send(peer.hello, {&fd, 1}));
  expect_refusal(peer, errc::corrupt, "peer memory:");
}

TEST_P(hostile_hello, more_seals_than_needed_and_a_read_only_descriptor_are_fine) {
  const unique_fd memory =
      control_like([](memfd_recipe& recipe) { recipe.seals = proper_seals() | F_SEAL_WRITE; });
  const std::string path = fmt::format("/proc/self/fd/{}", memory.get());
  const unique_fd read_only(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  for (const int fd : {memory.get(), read_only.get()}) {
    hostile_peer peer(opposite_of(GetParam()));
    ASSERT_TRUE(peer.send(peer.hello, {&fd, 1}));
    const auto target = victim::make(GetParam());
    EXPECT_FALSE(target->meet(peer.victims_end()));
    expect_life(*target);
  }
}

TEST_P(hostile_hello, a_control_block_that_does_not_match_is_refused) {
  struct change {
    const char* what;
    std::function<void(raw_control&)> spoil;
  };
  const std::vector<change> changes = {
      {"wrong magic", [](raw_control& block) { block.magic ^= 1; }},
      {"wrong magic", [](raw_control& block) { block.version = 2; }},
      {"does not match", [](raw_control& block) { block.returns_offset = 648; }},
      {"does not match", [](raw_control& block) { block.returns_offset = ~0ull; }},
      {"does not match", [](raw_control& block) { block.returns_cells = 32; }},
      {"does not match", [](raw_control& block) { block.ring_offset = 0; }},
      {"does not match", [](raw_control& block) { block.ring_offset = ~0ull << 12; }},
      {"does not match", [](raw_control& block) { block.ring_bytes = 8192; }},
      {"does not match", [](raw_control& block) { block.epoch ^= 1; }},
  };
  for (const change& each : changes) {
    hostile_peer peer(opposite_of(GetParam()));
    raw_control block;
    std::memcpy(&block, peer.control->bytes().data(), sizeof block);
    each.spoil(block);
    std::memcpy(peer.control->bytes().data(), &block, sizeof block);
    ASSERT_TRUE(peer.send_hello());
    expect_refusal(peer, errc::corrupt, each.what);
  }
}

// --- peers that do not speak, or say no
// -----------------------------------------------------------

TEST_P(hostile_hello, silence_ends_by_timeout) {
  hostile_peer peer(opposite_of(GetParam()));
  const auto began = std::chrono::steady_clock::now();
  const call_error why = meet(peer, 50ms);
  EXPECT_EQ(why.code, errc::timeout);
  EXPECT_NE(why.text.find("no hello in time"), std::string::npos);
  EXPECT_GE(std::chrono::steady_clock::now() - began, 50ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

TEST_P(hostile_hello, a_peer_that_closes_at_once_is_unavailable) {
  hostile_peer peer(opposite_of(GetParam()));
  peer.hang_up();
  EXPECT_EQ(meet(peer).code, errc::unavailable);

  hostile_peer empty(opposite_of(GetParam()));  // a packet of no bytes says the same
  ASSERT_TRUE(empty.send(std::span<const std::byte>()));
  EXPECT_EQ(meet(empty).code, errc::unavailable);
}

TEST_P(hostile_hello, a_peer_that_closes_while_we_wait_is_unavailable) {
  hostile_peer peer(opposite_of(GetParam()));
  std::thread closing([&] {
    EXPECT_EQ(peer.receive().kind(), 1u);
    peer.hang_up();
  });
  EXPECT_EQ(meet(peer).code, errc::unavailable);
  closing.join();
}

TEST_P(hostile_hello, a_refusal_is_passed_on_in_printable_characters) {
  hostile_peer peer(opposite_of(GetParam()));
  const std::string text("no\x1b[31m room\n\x00\xff here", 20);
  raw_reject head;
  head.size_bytes = static_cast<std::uint32_t>(sizeof head + text.size());
  std::vector<std::byte> packet(head.size_bytes);
  std::memcpy(packet.data(), &head, sizeof head);
  std::memcpy(packet.data() + sizeof head, text.data(), text.size());
  ASSERT_TRUE(peer.send(packet));
  const call_error why = meet(peer);
  EXPECT_EQ(why.code, errc::refused);
  EXPECT_EQ(why.text, "the peer refused: no?[31m room??? here");
}

TEST_P(hostile_hello, a_refusal_for_the_version_keeps_its_code) {
  for (const std::uint32_t code : {9u, 0u, ~0u}) {
    hostile_peer peer(opposite_of(GetParam()));
    raw_reject head;
    head.code = code;
    ASSERT_TRUE(peer.send(head));
    peer.hang_up();  // as who refuses does
    EXPECT_EQ(meet(peer).code, code == 9 ? errc::version_mismatch : errc::refused);
  }
}

TEST_P(hostile_hello, a_refusal_after_a_good_hello_is_passed_on_too) {
  open_session open(GetParam());
  const std::string text = "no memory for your rings";
  raw_reject head;
  head.size_bytes = static_cast<std::uint32_t>(sizeof head + text.size());
  std::vector<std::byte> packet(head.size_bytes);
  std::memcpy(packet.data(), &head, sizeof head);
  std::memcpy(packet.data() + sizeof head, text.data(), text.size());
  ASSERT_TRUE(open.peer.send(packet));
  open.peer.hang_up();
  expect_end(*open.target, "the peer refused: " + text);
}

TEST_P(hostile_hello, a_peer_that_stops_after_its_hello_holds_nobody_up) {
  open_session open(GetParam());
  const auto began = std::chrono::steady_clock::now();
  EXPECT_FALSE(open.target->turn(30ms));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  open.peer.hang_up();
  expect_end(*open.target, "the peer died");
}

}  // namespace
}  // namespace ferry
