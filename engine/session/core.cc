#include "engine/session/core.h"

#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/futex.h"
#include "shm/coarse_clock.h"
#include "shm/socket.h"

namespace ferry {
namespace {

constexpr packet_header wakeup_packet{packet_kind::wakeup, sizeof(packet_header)};
constexpr packet_header bye_packet{packet_kind::bye, sizeof(packet_header)};

// As they are but for the time that a handshake may take.
bool nearly_same(std::uint32_t theirs_ms, std::uint32_t ours_ms) {
  const auto apart = static_cast<std::int32_t>(ours_ms - theirs_ms);
  return apart > -60'000 && apart < 60'000;
}

std::span<std::byte> ring_of(const own_segment& control, const hello_packet& hello) {
  const auto layout = lay_out_control(hello.ring_bytes, hello.returns_cells);
  return control.bytes().subspan(layout.ring_offset, hello.ring_bytes);
}
std::span<const std::byte> ring_of(const peer_segment& control, const hello_packet& hello) {
  const auto layout = lay_out_control(hello.ring_bytes, hello.returns_cells);
  return control.bytes().subspan(layout.ring_offset, hello.ring_bytes);
}
// The cells start as zero pages, which is what a zero atomic looks like.
std::span<return_cell<std_atomics>> cells_of(const own_segment& control,
                                             const hello_packet& hello) {
  const auto layout = lay_out_control(hello.ring_bytes, hello.returns_cells);
  auto* first =
      reinterpret_cast<return_cell<std_atomics>*>(control.bytes().data() + layout.returns_offset);
  return {first, hello.returns_cells};
}
std::span<const return_cell<std_atomics>> cells_of(const peer_segment& control,
                                                   const hello_packet& hello) {
  const auto layout = lay_out_control(hello.ring_bytes, hello.returns_cells);
  auto* first = reinterpret_cast<const return_cell<std_atomics>*>(control.bytes().data() +
                                                                  layout.returns_offset);
  return {first, hello.returns_cells};
}

}  // namespace

result<std::shared_ptr<session_core>, call_error> session_core::open(unique_fd socket,
                                                                     session_role role,
                                                                     session_options options) {
  auto peers = exchange_hello(socket, role, options);
  if (!peers) return std::move(peers).error();
  return adopt(std::move(socket), std::move(options), std::move(*peers));
}

std::shared_ptr<session_core> session_core::adopt(unique_fd socket, session_options options,
                                                  established peers) {
  return std::shared_ptr<session_core>(
      new session_core(std::move(socket), std::move(options), std::move(peers)));
}

session_core::session_core(unique_fd socket, session_options options, established peers)
    : options_(std::move(options)),
      socket_(std::move(socket)),
      control_(std::move(peers.mine)),
      peer_control_(std::move(peers.theirs)),
      mine_(reinterpret_cast<control_block*>(control_.bytes().data())),
      theirs_(reinterpret_cast<const control_block*>(peer_control_.bytes().data())),
      peer_ring_(ring_of(peer_control_, peers.their_hello)),
      peer_key_(peers.their_hello.epoch),
      peer_pid_(peers.their_hello.pid),
      same_clock_(nearly_same(peers.their_hello.clock_ms, coarse_ms())),
      records_(ring_of(control_, peers.my_hello), theirs_->records_read, peers.my_hello.epoch),
      returns_(cells_of(control_, peers.my_hello), theirs_->returns_taken),
      ringer_(mine_->sleep, theirs_->sleep),
      pool_(options_.inline_limit),
      arena_(
          options_.arena,
          [this](std::uint32_t id, const own_segment& made) { return send_segment(id, made); },
          [this](std::uint32_t id) { return retire_segment(id); }),
      // The peer returns what it read through its own returns ring: lend no more than fit there,
      // and leave out the eighth that we may have read without saying so (returns_consumer).
      book_(static_cast<std::uint32_t>(peers.their_hello.returns_cells -
                                       peers.their_hello.returns_cells / 8),
            arena_, static_cast<std::uint32_t>(peers.my_hello.epoch)),
      returned_(cells_of(peer_control_, peers.their_hello), mine_->returns_taken) {}

session_core::~session_core() {
  if (!forked()) book_.take_back_all();
}

// --- bodies -------------------------------------------------------------------------------------

result<loan> session_core::borrow(std::uint64_t size_bytes) {
  if (over()) return error{errc::closed, 0, "the session is over"};
  loan made;
  if (size_bytes <= options_.inline_limit) {
    made.data_ = pool_.take();
    made.block_ = {};
  } else {
    collect_returns();  // a body that is back and warm is better than new memory
    auto block = arena_.allocate(size_bytes);
    if (!block) return block.error();
    made.data_ = block->data;
    made.block_ = *block;
  }
  made.size_ = size_bytes;
  made.core_ = shared_from_this();
  return made;
}

void session_core::release(loan& unsent) noexcept {
  if (forked()) return;  // another thread of the parent may have held a lock
  if (unsent.block_.segment == 0) {
    pool_.give(unsent.data_);
  } else {
    arena_.free(unsent.block_);
  }
}

body session_core::snapshot(std::span<const std::byte> bytes) {
  if (bytes.size() <= body::tiny_bytes) return body::tiny_line(bytes);
  if (bytes.size() <= options_.inline_limit) {
    std::byte* block = pool_.take();
    std_atomics::read(block, bytes.data(), bytes.size());
    return body({block, bytes.size()}, shared_from_this(), 0);
  }
  // Only a peer with a larger inline_limit than ours sends these.
  struct heap_copy final : body_owner {
    explicit heap_copy(std::span<const std::byte> from) : bytes(from.begin(), from.end()) {}
    void give_back(const std::byte*, std::uint32_t) noexcept override {}
    std::vector<std::byte> bytes;
  };
  auto copy = std::make_shared<heap_copy>(bytes);
  const std::span<const std::byte> view(copy->bytes);
  return body(view, std::move(copy), 0);
}

void session_core::give_back(const std::byte* data, std::uint32_t) noexcept {
  if (forked()) return;
  pool_.give(const_cast<std::byte*>(data));  // it came from pool_.take(), which gave it writable
}

void session_core::return_body(std::uint32_t id) noexcept {
  if (over()) return;  // nobody reads the returns any more
  const auto pushed = returns_.try_push(id);
  if (!pushed) {
    // Full: the peer lent more than the ring it reads has cells. Corrupt: it published nonsense.
    return fail(errc::corrupt, std::string("returning a body: ") + pushed.error().message());
  }
  announce(news::room);
}

bool session_core::collect_returns() noexcept {
  if (book_.outstanding() == 0) return false;
  if (collecting_.test_and_set(std::memory_order_acquire)) return false;  // another thread is at it
  bool any = false;
  error broken{errc::empty};
  for (auto id = returned_.try_pop(); id; id = returned_.try_pop()) {
    any = true;
    if (auto taken = book_.take_back(*id); !taken) {
      broken = taken.error();
      break;
    }
    taken_back_.fetch_add(1, std::memory_order_relaxed);
  }
  collecting_.clear(std::memory_order_release);
  if (broken.code != errc::empty) {
    fail(errc::corrupt, std::string("the peer returned a body: ") + broken.message());
  }
  return any;
}

void session_core::reclaim() noexcept {
  if (forked()) return;  // another thread of the parent may have held a lock
  book_.take_back_all();
  (void)arena_.trim(std::chrono::steady_clock::now(), true);
}

std::size_t session_core::trim(bool all) {
  collect_returns();
  const std::size_t freed = arena_.trim(std::chrono::steady_clock::now(), all);
  // The memory is free only once the peer has unmapped it too: worth waking it.
  if (freed != 0) announce(news::records);
  return freed;
}

// --- sending ------------------------------------------------------------------------------------

result<void> session_core::send(const record_fields& fields, std::span<const std::byte> bytes,
                                notice when) {
  if (over()) return error{errc::closed, 0, "the session is over"};
  if (bytes.size() > options_.inline_limit) {
    auto copy = borrow(bytes.size());
    if (!copy) return copy.error();
    std::memcpy(copy->data(), bytes.data(), bytes.size());
    return send(fields, *copy, when);
  }
  if (auto pushed = push(fields, bytes); !pushed) return pushed.error();
  tell(when);
  return {};
}

result<void> session_core::push(const record_fields& fields, std::span<const std::byte> bytes) {
  auto pushed = records_.try_push(fields, bytes);
  if (!pushed && pushed.error().code == errc::corrupt) fail(errc::corrupt, pushed.error().what);
  return pushed;
}

result<void> session_core::send(record_fields fields, loan& filled, notice when) {
  if (filled.core_.get() != this) {
    return error{errc::bad_argument, 0, "the loan is of another session, or was sent already"};
  }
  if (over()) return error{errc::closed, 0, "the session is over"};
  if (filled.block_.segment == 0) {
    if (auto pushed = push(fields, filled.bytes()); !pushed) return pushed.error();
    filled.drop();
    tell(when);
    return {};
  }
  auto id = book_.lend(filled.block_);
  if (!id && collect_returns()) id = book_.lend(filled.block_);
  if (!id) return id.error();
  fields.body_segment = filled.block_.segment;
  fields.body_offset = filled.block_.offset;
  fields.body_size = filled.size_;
  fields.body_id = *id;
  if (auto pushed = push(fields); !pushed) {
    if (!book_.withdraw(*id)) {
      // Taken back meanwhile: by reclaim(), or by a peer that guessed the id of what it never got.
      fail(errc::corrupt, "the peer returned a body that was not sent");
      filled.core_.reset();
      filled.data_ = nullptr;
      filled.size_ = 0;
    }
    return pushed.error();
  }
  // From the push on the body is the peer's, and ours again only through its returns ring.
  filled.core_.reset();
  tell(when);
  return {};
}

bool session_core::room_came_since(const progress_mark& mark) noexcept {
  if (over()) return true;
  if (!records_.has_room(options_.inline_limit)) return false;
  if (peer_progress().read != mark.read) return true;
  collect_returns();
  // Another thread that collects just now may find what we would: then a try in vain is better than
  // to sleep past it.  acquire: pairs with the release when it is done; it has counted.
  const bool others_collect = collecting_.test(std::memory_order_acquire);
  return others_collect || peer_progress().returned != mark.returned;
}

void session_core::announce(news what) noexcept { ring(ringer_.check(what)); }

void session_core::tell(notice when) noexcept {
  ring(when == notice::now ? ringer_.check(news::records) : ringer_.glance(news::records));
}

void session_core::ring(wake how) noexcept {
  switch (how) {
    case wake::none: break;
    case wake::bell: futex_wake_all(mine_->sleep.bell); break;
    case wake::packet:
      // A full socket has wakeups waiting in it; a broken one wakes the peer by its end.
      (void)send_packet(socket_.get(), std::as_bytes(std::span(&wakeup_packet, 1)));
      break;
  }
}

result<void> session_core::send_segment(std::uint32_t id, const own_segment& segment) {
  segment_packet packet{};
  packet.header = {packet_kind::segment, sizeof packet};
  packet.id = id;
  packet.size_bytes = segment.size();
  const int fd = segment.fd();
  return send_packet(socket_.get(), std::as_bytes(std::span(&packet, 1)), {&fd, 1});
}

result<void> session_core::retire_segment(std::uint32_t id) {
  if (over()) return {};
  record_fields fields;
  fields.kind = record_kind::retire;
  fields.body_segment = id;
  // Called with the arena locked: published, not announced; a sleeping peer reads it when it wakes.
  return push(fields);
}

// --- end ----------------------------------------------------------------------------------------

void session_core::fail(errc code, std::string text) noexcept {
  if (forked()) return;  // another thread may have held the mutex
  {
    const std::lock_guard guard(failure_mutex_);
    if (over_.load(std::memory_order_relaxed)) return;
    failure_ = {code, std::move(text), true};
    // release: pairs with the acquire load in over(); failure_ is written.
    over_.store(true, std::memory_order_release);
  }
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void session_core::close() noexcept {
  if (!over()) {
    (void)send_packet(socket_.get(), std::as_bytes(std::span(&bye_packet, 1)));
    announce(news::records);  // a peer asleep on the bell does not see the socket
  }
  fail(errc::closed, "this side closed the session");
}

bool session_core::peer_hung_up() const noexcept {
  pollfd end{socket_.get(), 0, 0};
  return ::poll(&end, 1, 0) == 1;  // asked for nothing: only an end or an error is reported
}

call_error session_core::failure() const {
  if (forked()) {
    return {errc::not_supported,
            "this process was forked from the one that made the session: make one of its own",
            false};
  }
  const std::lock_guard guard(failure_mutex_);
  return failure_;
}

}  // namespace ferry
