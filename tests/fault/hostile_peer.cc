#include "tests/fault/hostile_peer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

namespace ferry {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::uint64_t page = 4096;
constexpr std::size_t record_head = sizeof(raw_record);

// A test that cannot set its stage has nothing to show.
void require(bool works, const char* step) {
  if (works) return;
  std::perror(step);
  std::abort();
}

std::uint64_t ring_offset_for(std::uint64_t returns_cells) {
  return (returns_at + returns_cells * 8 + page - 1) / page * page;
}
std::uint64_t ready_for(std::uint64_t position, std::uint64_t epoch) {
  return (position ^ epoch) | 1;
}
template <class T>
T load(std::span<const std::byte> memory, std::uint64_t offset) {
  auto* at = reinterpret_cast<T*>(const_cast<std::byte*>(memory.data()) + offset);
  return std::atomic_ref<T>(*at).load(std::memory_order_acquire);
}

}  // namespace

int proper_seals() { return F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL; }

unique_fd make_memfd(const memfd_recipe& recipe) {
  unique_fd fd(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  require(static_cast<bool>(fd), "memfd_create");
  const auto size = static_cast<off_t>(recipe.size_bytes);
  if (recipe.take_pages && size != 0) {
    require(::fallocate(fd.get(), 0, 0, size) == 0, "fallocate");
  } else {
    require(::ftruncate(fd.get(), size) == 0, "ftruncate");
  }
  if (!recipe.begin_with.empty()) {
    const auto written = ::pwrite(fd.get(), recipe.begin_with.data(), recipe.begin_with.size(), 0);
    require(written == static_cast<ssize_t>(recipe.begin_with.size()), "pwrite");
  }
  const int seals = recipe.seals < 0 ? proper_seals() : recipe.seals;
  require(seals == 0 || ::fcntl(fd.get(), F_ADD_SEALS, seals) == 0, "F_ADD_SEALS");
  return fd;
}

raw_memory::raw_memory(std::uint64_t size_bytes) {
  memfd_recipe recipe;
  recipe.size_bytes = size_bytes;
  recipe.seals = 0;
  fd_ = make_memfd(recipe);
  void* at = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  require(at != MAP_FAILED, "mmap");
  bytes_ = {static_cast<std::byte*>(at), size_bytes};
  require(::fcntl(fd_.get(), F_ADD_SEALS, proper_seals()) == 0, "F_ADD_SEALS");
}

raw_memory::~raw_memory() { ::munmap(bytes_.data(), bytes_.size()); }

std::uint32_t raw_packet::kind() const {
  std::uint32_t value = 0;
  if (bytes.size() >= sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}
std::uint32_t raw_packet::code() const {
  raw_reject head;
  if (bytes.size() < sizeof head) return 0;
  std::memcpy(&head, bytes.data(), sizeof head);
  return head.code;
}
std::string raw_packet::text() const {
  if (bytes.size() < sizeof(raw_reject)) return {};
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof(raw_reject),
          bytes.size() - sizeof(raw_reject)};
}

hostile_peer::hostile_peer(plays role, std::uint64_t ring_bytes, std::uint64_t returns_cells)
    : ring_bytes_(ring_bytes), returns_cells_(returns_cells) {
  std::array<int, 2> ends{};
  const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
  require(::socketpair(AF_UNIX, type, 0, ends.data()) == 0, "socketpair");
  socket_ = unique_fd(ends[0]);
  far_end_ = unique_fd(ends[1]);

  raw_control block;
  block.returns_cells = returns_cells;
  block.ring_offset = ring_offset_for(returns_cells);
  block.ring_bytes = ring_bytes;
  block.epoch = 0x1122334455667788;
  control = std::make_unique<raw_memory>((block.ring_offset + ring_bytes + page - 1) / page * page);
  std::memcpy(control->bytes().data(), &block, sizeof block);

  hello.role = static_cast<std::uint16_t>(role);
  hello.control_bytes = control->bytes().size();
  hello.ring_bytes = ring_bytes;
  hello.returns_cells = returns_cells;
  hello.epoch = block.epoch;
}

hostile_peer::~hostile_peer() {
  if (!their_control_.empty()) {
    ::munmap(const_cast<std::byte*>(their_control_.data()), their_control_.size());
  }
}

std::uint64_t hostile_peer::ring_offset() const { return ring_offset_for(returns_cells_); }

// --- packets
// --------------------------------------------------------------------------------------

bool hostile_peer::send(std::span<const std::byte> bytes, std::span<const int> fds) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::vector<std::byte> rights(CMSG_SPACE(fds.size_bytes()));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = rights.data();
    message.msg_controllen = rights.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

bool hostile_peer::send_hello() {
  const int fd = control->fd();
  return send(hello, {&fd, 1});
}

bool hostile_peer::send_segment(std::uint32_t id, const raw_memory& memory) {
  raw_segment packet;
  packet.id = id;
  packet.segment_bytes = memory.bytes().size();
  const int fd = memory.fd();
  return send(packet, {&fd, 1});
}

raw_packet hostile_peer::receive(std::chrono::milliseconds patience) {
  raw_packet got;
  pollfd readable{socket_.get(), POLLIN, 0};
  if (::poll(&readable, 1, static_cast<int>(patience.count())) != 1) return got;
  got.bytes.resize(65536);
  iovec part{got.bytes.data(), got.bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * 16)> rights;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = rights.data();
  message.msg_controllen = rights.size();
  ssize_t size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  // A reset is told once, before what the victim had sent: ask again.
  if (size < 0 && errno == ECONNRESET) {
    size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  }
  got.bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  got.end = size <= 0;
  if (size < 0) return got;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    for (std::size_t at = 0; at < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++at) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(head) + at * sizeof(int), sizeof fd);
      got.fds.emplace_back(fd);
    }
  }
  return got;
}

bool hostile_peer::take_hello() {
  raw_packet got = receive();
  if (got.bytes.size() != sizeof theirs_ || got.fds.size() != 1) return false;
  std::memcpy(&theirs_, got.bytes.data(), sizeof theirs_);
  void* at = ::mmap(nullptr, theirs_.control_bytes, PROT_READ, MAP_SHARED, got.fds[0].get(), 0);
  if (at == MAP_FAILED) return false;
  their_control_ = {static_cast<const std::byte*>(at), theirs_.control_bytes};
  return true;
}

bool hostile_peer::sees_the_end(std::chrono::milliseconds patience) {
  const auto deadline = clock::now() + patience;
  while (clock::now() < deadline) {
    if (receive(std::chrono::milliseconds(100)).end) return true;
  }
  return false;
}

// --- rings
// ----------------------------------------------------------------------------------------

std::uint64_t hostile_peer::put(raw_record record, std::string_view text) {
  const std::uint64_t at = write_position_;
  const std::uint64_t size = (record_head + text.size() + 63) / 64 * 64;
  put_at(at, record, text);
  write_position_ += size;
  return at;
}

void hostile_peer::put_at(std::uint64_t position, raw_record record, std::string_view text) {
  const std::uint64_t offset = position & (ring_bytes_ - 1);
  const std::span<std::byte> ring = this->ring();
  const std::size_t room = ring.size() - offset - record_head;
  if (!text.empty()) {
    std::memcpy(ring.data() + offset + record_head, text.data(), std::min(text.size(), room));
  }
  std::memcpy(ring.data() + offset + 8, reinterpret_cast<const std::byte*>(&record) + 8,
              record_head - 8);
  poke<std::uint64_t>(ring_offset() + offset, ready_for(position, hello.epoch));
}

void hostile_peer::give_back(std::uint32_t body_id) {
  const std::uint64_t tag = (returns_position_ / returns_cells_ * 2 + 1) & 0xffffffff;
  poke<std::uint64_t>(returns_at + (returns_position_ & (returns_cells_ - 1)) * 8,
                      tag << 32 | body_id);
  ++returns_position_;
}

std::optional<raw_record> hostile_peer::next_record(std::string* text) {
  const std::uint64_t ring_bytes = theirs_.ring_bytes;
  const std::uint64_t ring_offset = ring_offset_for(theirs_.returns_cells);
  for (;;) {
    const std::uint64_t at = ring_offset + (read_position_ & (ring_bytes - 1));
    if (load<std::uint64_t>(their_control_, at) != ready_for(read_position_, theirs_.epoch)) {
      return std::nullopt;
    }
    raw_record record;
    std::memcpy(&record, their_control_.data() + at, sizeof record);
    read_position_ += (record_head + record.inline_size + 63) / 64 * 64;
    if (record.kind == a_pad) continue;
    if (text != nullptr) {
      text->assign(reinterpret_cast<const char*>(their_control_.data()) + at + record_head,
                   record.inline_size);
    }
    return record;
  }
}

std::optional<raw_record> hostile_peer::await_record(std::string* text) {
  const auto deadline = clock::now() + std::chrono::seconds(5);
  do {
    if (auto record = next_record(text)) return record;
    std::this_thread::yield();
  } while (clock::now() < deadline);
  return std::nullopt;
}

std::optional<std::uint32_t> hostile_peer::next_returned() {
  const std::uint64_t cells = theirs_.returns_cells;
  const auto cell =
      load<std::uint64_t>(their_control_, returns_at + (returned_position_ & (cells - 1)) * 8);
  if (cell >> 32 != ((returned_position_ / cells * 2 + 1) & 0xffffffff)) return std::nullopt;
  ++returned_position_;
  return static_cast<std::uint32_t>(cell);
}

std::uint64_t hostile_peer::victims_word(std::size_t offset) const {
  return load<std::uint64_t>(their_control_, offset);
}

}  // namespace ferry
