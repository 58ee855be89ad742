#include "engine/session/hello.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>

#include "shm/coarse_clock.h"
#include "shm/socket.h"

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;

call_error rich(const error& why, std::string_view during) {
  return {why.code, fmt::format("{}: {}", during, why.message()), false};
}

result<void> check_options(const session_options& options) {
  if (!std::has_single_bit(options.ring_bytes) || options.ring_bytes < min_ring_bytes ||
      options.ring_bytes > max_ring_bytes) {
    return error{errc::bad_argument, 0, "ring_bytes is not a power of two within the limits",
                 options.ring_bytes, max_ring_bytes};
  }
  if (!std::has_single_bit(options.returns_cells) || options.returns_cells < min_returns_cells ||
      options.returns_cells > max_returns_cells) {
    return error{errc::bad_argument, 0, "returns_cells is not a power of two within the limits",
                 options.returns_cells, max_returns_cells};
  }
  if (options.inline_limit < min_inline_limit) {
    return error{errc::bad_argument, 0, "inline_limit is less than names and error texts need",
                 options.inline_limit, min_inline_limit};
  }
  if (options.inline_limit > max_inline_bytes(options.ring_bytes)) {
    return error{errc::bad_argument, 0, "inline_limit is more than the ring can carry",
                 options.inline_limit, max_inline_bytes(options.ring_bytes)};
  }
  return {};
}

result<own_segment> make_control(const session_options& options, std::uint64_t epoch) {
  const control_layout layout = lay_out_control(options.ring_bytes, options.returns_cells);
  auto segment = own_segment::create("ferry-control", layout.total_bytes);
  if (!segment) return segment.error();
  auto* block = new (segment->bytes().data()) control_block{};
  block->magic = control_magic;
  block->version = layout_version;
  block->returns_offset = layout.returns_offset;
  block->returns_cells = options.returns_cells;
  block->ring_offset = layout.ring_offset;
  block->ring_bytes = options.ring_bytes;
  block->epoch = epoch;
  if (auto sealed = segment->seal(); !sealed) return sealed.error();
  return segment;
}

void send_reject(const unique_fd& socket, const call_error& why) {
  std::array<std::byte, max_packet_bytes> packet{};
  const std::size_t text = std::min(why.text.size(), packet.size() - sizeof(reject_packet));
  reject_packet head{};
  head.header = {packet_kind::reject, static_cast<std::uint32_t>(sizeof head + text)};
  head.code = static_cast<std::uint32_t>(why.code);
  std::memcpy(packet.data(), &head, sizeof head);
  std::memcpy(packet.data() + sizeof head, why.text.data(), text);
  // If this fails the peer learns from the end of the socket that we are gone, only not why.
  (void)send_packet(socket.get(), std::span(packet).first(sizeof head + text));
}

// What a peer says of itself is quoted to people: printable ASCII only.
std::string printable(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    const char c = static_cast<char>(b);
    text.push_back(c >= ' ' && c <= '~' ? c : '?');
  }
  return text;
}

result<packet, call_error> await_packet(const unique_fd& socket, std::span<std::byte> into,
                                        clock::time_point deadline) {
  for (;;) {
    auto got = receive_packet(socket.get(), into);
    if (got) return std::move(*got);
    if (got.error().code != errc::empty) return rich(got.error(), "waiting for the peer's hello");
    const auto left = deadline - clock::now();
    if (left <= left.zero()) {
      return call_error{errc::timeout, "the peer sent no hello in time", false};
    }
    pollfd readable{socket.get(), POLLIN, 0};
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    // A failing or interrupted poll only costs a turn: the deadline above bounds the loop.
    (void)::poll(&readable, 1, static_cast<int>(std::min<std::int64_t>(ms, 60'000)));
  }
}

bool is_reject(std::span<const std::byte> packet) {
  packet_header header{};
  if (packet.size() < sizeof(reject_packet)) return false;
  std::memcpy(&header, packet.data(), sizeof header);
  return header.kind == packet_kind::reject;
}

result<hello_packet, call_error> parse_hello(const packet& got, std::span<const std::byte> bytes) {
  hello_packet hello{};
  packet_header header{};
  if (bytes.size() < sizeof header) {
    return call_error{errc::corrupt, "the peer's first packet is too short for a hello", false};
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  // Magic and version come first and stay where they are in every version.
  constexpr std::size_t prefix = offsetof(hello_packet, features_offered);
  if (header.kind != packet_kind::hello || bytes.size() < prefix) {
    return call_error{errc::corrupt, "the peer's first packet is not a hello", false};
  }
  std::memcpy(&hello, bytes.data(), prefix);
  if (hello.magic != hello_magic) {
    return call_error{
        errc::corrupt,
        fmt::format("the peer's hello has the magic {:#010x}, not {:#x}", hello.magic, hello_magic),
        false};
  }
  if (hello.version != protocol_version) {
    return call_error{errc::version_mismatch,
                      fmt::format("protocol versions differ: the peer speaks {}, this side {}",
                                  hello.version, protocol_version),
                      false};
  }
  if (bytes.size() != sizeof hello) {
    return call_error{
        errc::corrupt,
        fmt::format("the peer's hello has {} bytes, not {}", bytes.size(), sizeof hello), false};
  }
  if (header.size_bytes != sizeof hello) {
    return call_error{errc::corrupt,
                      fmt::format("the peer's hello says that it has {} bytes, not {}",
                                  header.size_bytes, sizeof hello),
                      false};
  }
  std::memcpy(&hello, bytes.data(), sizeof hello);
  if (got.fd_count != 1) {
    return call_error{errc::corrupt,
                      fmt::format("the peer's hello carries {} descriptors, not 1", got.fd_count),
                      false};
  }
  return hello;
}

result<void, call_error> check_hello(const hello_packet& theirs, const hello_packet& mine) {
  if (const auto missing = theirs.features_required & ~mine.features_offered; missing != 0) {
    return call_error{errc::version_mismatch,
                      fmt::format("the peer needs features that this side lacks: {:#x}", missing),
                      false};
  }
  if (const auto missing = mine.features_required & ~theirs.features_offered; missing != 0) {
    return call_error{errc::version_mismatch,
                      fmt::format("the peer lacks features that this side needs: {:#x}", missing),
                      false};
  }
  if (theirs.role == mine.role) {
    return call_error{errc::corrupt, "both sides play the same role", false};
  }
  if (theirs.role != static_cast<std::uint16_t>(session_role::host) &&
      theirs.role != static_cast<std::uint16_t>(session_role::worker)) {
    return call_error{errc::corrupt, fmt::format("the peer plays the unknown role {}", theirs.role),
                      false};
  }
  if (!std::has_single_bit(theirs.ring_bytes) || theirs.ring_bytes < min_ring_bytes ||
      theirs.ring_bytes > max_ring_bytes) {
    return call_error{errc::corrupt, fmt::format("impossible ring size {}", theirs.ring_bytes),
                      false};
  }
  if (!std::has_single_bit(theirs.returns_cells) || theirs.returns_cells < min_returns_cells ||
      theirs.returns_cells > max_returns_cells) {
    return call_error{errc::corrupt,
                      fmt::format("impossible returns ring of {} cells", theirs.returns_cells),
                      false};
  }
  const auto layout = lay_out_control(theirs.ring_bytes, theirs.returns_cells);
  if (theirs.control_bytes != layout.total_bytes) {
    return call_error{errc::corrupt,
                      fmt::format("control segment of {} bytes, where the rings take {}",
                                  theirs.control_bytes, layout.total_bytes),
                      false};
  }
  return {};
}

// The segment repeats what the hello says; a difference means that they do not belong together.
result<void, call_error> check_control(const peer_segment& segment, const hello_packet& hello) {
  const auto& block = *reinterpret_cast<const control_block*>(segment.bytes().data());
  const auto layout = lay_out_control(hello.ring_bytes, hello.returns_cells);
  if (block.magic != control_magic || block.version != layout_version) {
    return call_error{errc::corrupt, "the control segment has a wrong magic or layout version",
                      false};
  }
  if (block.returns_offset != layout.returns_offset || block.ring_offset != layout.ring_offset ||
      block.returns_cells != hello.returns_cells || block.ring_bytes != hello.ring_bytes ||
      block.epoch != hello.epoch) {
    return call_error{errc::corrupt, "the control segment does not match the hello", false};
  }
  return {};
}

}  // namespace

call_error read_reject(std::span<const std::byte> packet) {
  reject_packet head{};
  FERRY_CHECK(packet.size() >= sizeof head);
  std::memcpy(&head, packet.data(), sizeof head);
  errc code = errc::refused;
  for (const errc told : {errc::version_mismatch, errc::authentication_failed}) {
    if (head.code == static_cast<std::uint32_t>(told)) code = told;
  }
  return {code, fmt::format("the peer refused: {}", printable(packet.subspan(sizeof head))), false};
}

result<offered_hello, call_error> offer_hello(const unique_fd& socket, session_role role,
                                              const session_options& options) {
  if (auto sane = check_options(options); !sane) return rich(sane.error(), "session options");

  hello_packet mine{};
  if (::getrandom(&mine.epoch, sizeof mine.epoch, 0) != sizeof mine.epoch) {
    return rich(error{errc::system, errno, "getrandom"}, "session epoch");
  }
  auto control = make_control(options, mine.epoch);
  if (!control) return rich(control.error(), "control segment");

  mine.header = {packet_kind::hello, sizeof mine};
  mine.magic = hello_magic;
  mine.version = protocol_version;
  mine.role = static_cast<std::uint16_t>(role);
  mine.features_offered = features_known;
  mine.features_required = feature_shared_memory;
  mine.control_bytes = control->size();
  mine.ring_bytes = options.ring_bytes;
  mine.returns_cells = options.returns_cells;
  mine.pid = static_cast<std::uint32_t>(::getpid());
  mine.clock_ms = coarse_ms();
  const int fd = control->fd();
  if (auto sent = send_packet(socket.get(), std::as_bytes(std::span(&mine, 1)), {&fd, 1}); !sent) {
    // The peer may have refused and gone before we spoke: its reason is worth more than our EPIPE.
    if (sent.error().code != errc::unavailable) return rich(sent.error(), "sending the hello");
  }
  return offered_hello{std::move(*control), mine};
}

namespace {

result<established, call_error> check_answer(const unique_fd& socket, offered_hello& offer,
                                             result<packet, call_error> got,
                                             std::span<const std::byte> buffer) {
  const auto refuse = [&](call_error why) {
    send_reject(socket, why);
    return why;
  };
  if (!got) return refuse(std::move(got).error());
  const auto first = buffer.first(got->size_bytes);
  if (is_reject(first)) return read_reject(first);  // whatever its code: it knows that it refused
  auto theirs = parse_hello(*got, first);
  if (!theirs) return refuse(theirs.error());
  if (auto good = check_hello(*theirs, offer.mine); !good) return refuse(good.error());
  auto mapped = peer_segment::map(got->fds[0], theirs->control_bytes);
  if (!mapped) return refuse(rich(mapped.error(), "the peer's control segment"));
  if (auto good = check_control(*mapped, *theirs); !good) return refuse(good.error());
  return established{std::move(offer.control), std::move(*mapped), offer.mine, *theirs};
}

}  // namespace

result<std::optional<established>, call_error> accept_hello(const unique_fd& socket,
                                                            offered_hello& offer) {
  std::array<std::byte, max_packet_bytes> buffer;
  auto got = receive_packet(socket.get(), buffer);
  if (!got && got.error().code == errc::empty) return std::optional<established>();
  auto packet_or_why = got ? result<packet, call_error>(std::move(*got))
                           : rich(got.error(), "waiting for the peer's hello");
  auto peers = check_answer(socket, offer, std::move(packet_or_why), buffer);
  if (!peers) return std::move(peers).error();
  return std::optional<established>(std::move(*peers));
}

result<established, call_error> exchange_hello(const unique_fd& socket, session_role role,
                                               const session_options& options) {
  const auto deadline = clock::now() + options.hello_timeout;
  auto offer = offer_hello(socket, role, options);
  if (!offer) return std::move(offer).error();
  std::array<std::byte, max_packet_bytes> buffer;
  auto got = await_packet(socket, buffer, deadline);
  return check_answer(socket, *offer, std::move(got), buffer);
}

}  // namespace ferry
