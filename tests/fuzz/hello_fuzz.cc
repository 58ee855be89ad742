// Decodes    a peer's first packet and its control segment, by exchange_hello over a real socket.
// Input      one byte of flags: our role, how the segment is made, how many descriptors ride along;
//            two bytes: the packet's length; the packet; the rest begins the segment, whose size is
//            the one that the packet names (up to a bound).
// Property   a session is only ever established on a hello and a segment of which everything that
//            this side relies on holds; all else is refused with a reason in printable characters,
//            which the peer is told, too, unless it was the peer that refused.
#include "engine/session/hello.h"

#include <array>
#include <bit>
#include <vector>

#include "shm/socket.h"
#include "tests/fault/hostile_peer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/leak_watch.h"

namespace ferry {
namespace {

constexpr std::size_t page = 4096;
constexpr std::uint64_t most_segment_bytes = 256 << 10;
constexpr std::size_t most_packet_bytes = max_packet_bytes + 64;

enum class made { properly, one_page_more, without_pages, without_seals };

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

raw_hello hello_in(std::span<const std::byte> packet) {
  raw_hello hello;
  std::memcpy(&hello, packet.data(), std::min(packet.size(), sizeof hello));
  return hello;
}

unique_fd make_segment(std::span<const std::byte> packet, made how,
                       std::span<const std::byte> begin_with) {
  const std::uint64_t named = hello_in(packet).control_bytes;
  memfd_recipe recipe;
  recipe.size_bytes = named == 0 || named > most_segment_bytes ? page : named;
  recipe.begin_with = begin_with.first(std::min<std::size_t>(begin_with.size(), recipe.size_bytes));
  if (how == made::one_page_more) recipe.size_bytes += page;
  if (how == made::without_pages) {
    recipe.take_pages = false;
    recipe.begin_with = {};
  }
  if (how == made::without_seals) recipe.seals = 0;
  return make_memfd(recipe);
}

void holds(const established& peers, session_role role, std::span<const std::byte> packet,
           std::span<const std::byte> begin_of_segment) {
  FERRY_CHECK(packet.size() == sizeof(raw_hello));
  const raw_hello hello = hello_in(packet);
  const raw_hello good;
  FERRY_CHECK(hello.kind == good.kind && hello.size_bytes == good.size_bytes);
  FERRY_CHECK(hello.magic == good.magic && hello.version == good.version);
  FERRY_CHECK(hello.role == (role == session_role::host ? 2 : 1));
  FERRY_CHECK((hello.features_required & ~features_known) == 0);
  FERRY_CHECK((hello.features_offered & feature_shared_memory) != 0);
  FERRY_CHECK(std::memcmp(&peers.their_hello, packet.data(), packet.size()) == 0);

  FERRY_CHECK(std::has_single_bit(hello.ring_bytes) && hello.ring_bytes >= min_ring_bytes);
  FERRY_CHECK(std::has_single_bit(hello.returns_cells));
  FERRY_CHECK(hello.returns_cells >= min_returns_cells);
  const std::span<const std::byte> segment = peers.theirs.bytes();
  FERRY_CHECK(segment.size() == hello.control_bytes);
  raw_control block;
  std::memcpy(&block, segment.data(), sizeof block);
  FERRY_CHECK(same_bytes(segment.first(begin_of_segment.size()), begin_of_segment));
  FERRY_CHECK(block.magic == raw_control{}.magic && block.version == raw_control{}.version);
  FERRY_CHECK(block.epoch == hello.epoch);
  // Neither ring reaches into the other, or past the end; both lie where their words are aligned.
  FERRY_CHECK(block.returns_offset == returns_at && block.returns_cells == hello.returns_cells);
  FERRY_CHECK(block.ring_offset >= block.returns_offset + 8 * hello.returns_cells);
  FERRY_CHECK(block.ring_offset % page == 0 && block.ring_bytes == hello.ring_bytes);
  FERRY_CHECK(block.ring_offset <= segment.size());
  FERRY_CHECK(hello.ring_bytes <= segment.size() - block.ring_offset);
  // All of it can be read.
  volatile std::byte seen{};
  for (std::size_t at = 0; at < segment.size(); at += page) seen = segment[at];
  seen = segment.back();
  (void)seen;
}

// What the peer finds in its socket: our hello, and if it was refused, why.
void peer_is_told(int socket, bool refused, const call_error& why) {
  std::array<std::byte, max_packet_bytes> buffer;
  const auto ours = receive_packet(socket, buffer);
  FERRY_CHECK(ours && ours->size_bytes == sizeof(raw_hello) && ours->fd_count == 1);
  const auto next = receive_packet(socket, buffer);
  if (!refused) {
    FERRY_CHECK(!next && next.error().code == errc::empty);
    return;
  }
  FERRY_CHECK(next && next->fd_count == 0 && next->size_bytes >= sizeof(raw_reject));
  raw_reject head;
  std::memcpy(&head, buffer.data(), sizeof head);
  FERRY_CHECK(head.kind == raw_reject{}.kind && head.size_bytes == next->size_bytes);
  FERRY_CHECK(head.code == static_cast<std::uint32_t>(why.code));
  FERRY_CHECK(next->size_bytes == sizeof head + why.text.size());
  FERRY_CHECK(std::memcmp(buffer.data() + sizeof head, why.text.data(), why.text.size()) == 0);
}

void run(fuzz_input input) {
  const auto flags = input.take<std::uint8_t>();
  const session_role role = (flags & 1) != 0 ? session_role::host : session_role::worker;
  const auto how = static_cast<made>(flags >> 1 & 3);
  // One, unless the bits say otherwise.
  const std::size_t fd_count = (flags >> 3 & 3) ^ 1;
  const std::size_t length = input.take<std::uint16_t>() % most_packet_bytes;
  const auto packet = input.bytes(length);
  if (packet.empty()) return;  // no packet: exchange_hello would wait for one
  const auto begin_of_segment = input.bytes(page);

  auto ends = socket_pair();
  FERRY_CHECK(ends);
  {
    const unique_fd memfd = make_segment(packet, how, begin_of_segment);
    const std::array<int, 3> fds = {memfd.get(), memfd.get(), memfd.get()};
    FERRY_CHECK(send_packet(ends->second.get(), packet, std::span(fds).first(fd_count)));
  }
  session_options options;
  options.ring_bytes = 4096;
  options.returns_cells = 16;
  options.inline_limit = 512;
  const auto peers = exchange_hello(ends->first, role, options);
  if (peers) {
    FERRY_CHECK(fd_count == 1 && how == made::properly);
    holds(*peers, role, packet, begin_of_segment);
    return peer_is_told(ends->second.get(), false, {});
  }
  const call_error& why = peers.error();
  FERRY_CHECK(why.code == errc::corrupt || why.code == errc::version_mismatch ||
              why.code == errc::refused);
  FERRY_CHECK(!why.text.empty() && is_printable(why.text));
  FERRY_CHECK(!why.maybe_executed);
  const bool peer_refused =
      packet.size() >= sizeof(raw_reject) && hello_in(packet).kind == raw_reject{}.kind;
  if (why.code == errc::refused) FERRY_CHECK(peer_refused);
  peer_is_told(ends->second.get(), !peer_refused, why);
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  static ferry::leak_watch watch;
  ferry::run(ferry::fuzz_input(data, size_bytes));
  watch.after_run();
  return 0;
}
