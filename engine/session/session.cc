#include "engine/session/session.h"

#include <fmt/format.h>
#include <sched.h>

#include <array>
#include <cstring>

#include "engine/cpu.h"
#include "engine/futex.h"
#include "shm/socket.h"

namespace ferry {

using namespace std::chrono_literals;

namespace {

// A sleeper waits on the bell first, then moves to the reactor, which also sees the socket. On the
// bell it looks at the socket once per slice: the longest that a peer's death can go unnoticed. A
// slice is longer than a scheduler tick, since a shorter timer has to be programmed for every
// sleep, which costs a third of a round trip on one core.
constexpr auto bell_slice = 5ms;
constexpr auto bell_in_all = 20ms;

// A spinner looks at the socket this often.
constexpr auto spin_socket_look = 1ms;

// A gap of this length between two looks at the clock means that the spinner was not running.
constexpr auto preemption_gap = 100us;

// Looks for news before the first look at the clock: a microsecond or a few.
constexpr int glance_looks = 32;

// Times that a waiter hands its CPU to a peer that shares it, before it sleeps.
constexpr int yield_looks = 3;

std::uint32_t id_of_segment(const record_fields& fields) { return fields.body_segment; }

}  // namespace

class peer_memory final : public body_owner {
 public:
  peer_memory(std::uint32_t segment_id, peer_segment mapped, std::shared_ptr<session_core> core)
      : id(segment_id), segment(std::move(mapped)), core_(std::move(core)) {}
  void give_back(const std::byte*, std::uint32_t returned) noexcept override {
    core_->return_body(returned);
  }

  const std::uint32_t id;
  const peer_segment segment;

 private:
  std::shared_ptr<session_core> core_;
};

session::session(std::shared_ptr<session_core> core, std::shared_ptr<loop_core> loop)
    : core_(std::move(core)),
      loop_(std::move(loop)),
      records_(core_->peer_ring(), core_->mine().records_read, core_->peer_key()),
      sleeper_(core_->mine().sleep, core_->theirs().sleep),
      policy_(core_->options().wait.spin_limit.count()),
      left_after_end_(core_->peer_ring().size() / cache_line_bytes) {}

session::~session() {
  core_->close();
  core_->reclaim();
}

result<std::unique_ptr<session>, call_error> session::open(unique_fd socket, session_role role,
                                                           const session_options& options,
                                                           std::shared_ptr<loop_core> loop) {
  auto core = session_core::open(std::move(socket), role, options);
  if (!core) return std::move(core).error();
  return std::make_unique<session>(std::move(*core), std::move(loop));
}

// --- reading ------------------------------------------------------------------------------------

bool session::next(record_fields& fields, body& content) {
  // A bound on records that are none of the caller's business, so that a peer cannot hold us here.
  // After its end left_after_end_ is that bound.
  for (int passed_over = 0; passed_over < 64 || peer_gone_; ++passed_over) {
    const auto popped =
        records_.try_pop([&](const record_fields& seen, std::span<const std::byte> bytes) {
          fields = seen;
          content = core_->snapshot(bytes);
        });
    if (!popped) {
      if (popped.error().code == errc::corrupt) {
        spoil(popped.error().what);
      } else {
        hear_end();  // only now: what the peer published before its end has been delivered
      }
      return false;
    }
    if (peer_gone_ && left_after_end_-- == 0) [[unlikely]] {
      core_->fail(errc::unavailable, "the peer closed the socket and goes on writing");
      return false;
    }
    if (records_.owes_room()) owe_nothing();
    if (carries_messages_ != (fields.kind == record_kind::message) &&
        fields.kind != record_kind::retire) {
      spoil(carries_messages_ ? "no message in a channel" : "a message outside a channel");
      return false;
    }
    switch (fields.kind) {
      case record_kind::retire:
        retire(id_of_segment(fields));
        if (core_->over() && !peer_gone_) return false;
        continue;
      case record_kind::call:
      case record_kind::reply:
      case record_kind::failure:
      case record_kind::resolve:
      case record_kind::item:
      case record_kind::message:
        if (id_of_segment(fields) != 0 && !find_body(fields, content)) return false;
        return true;
      case record_kind::cancel:
      case record_kind::bind:
      case record_kind::end:
      case record_kind::credit:
      case record_kind::progress:
      case record_kind::ping:
      case record_kind::pong:
        if (id_of_segment(fields) == 0) return true;
        spoil("a body where none belongs");
        return false;
      case record_kind::pad: break;
    }
    spoil("a record of an unknown kind");
    return false;
  }
  return false;
}

void session::hear_end() {
  if (!peer_gone_) return;
  if (said_bye_) {
    core_->fail(errc::closed, "the peer closed the session");
  } else {
    core_->fail(errc::unavailable, "the peer died");
  }
}

bool session::find_body(const record_fields& fields, body& content) {
  if (fields.body_id == 0 || fields.inline_size != 0) {
    spoil("a body reference that contradicts itself");
    return false;
  }
  std::span<const std::byte> bytes;
  auto owner = memory_of(fields.body_segment, bytes);
  if (!owner) {
    // A segment is sent before the first record that points into it: it must be there by now.
    serve_socket();
    owner = memory_of(fields.body_segment, bytes);
  }
  if (!owner) {
    if (!core_->over()) spoil("a body in a segment that was never sent");
    return false;
  }
  if (fields.body_offset > bytes.size() || fields.body_size > bytes.size() - fields.body_offset) {
    spoil("a body that reaches past its segment");
    return false;
  }
  content =
      body(bytes.subspan(fields.body_offset, fields.body_size), std::move(owner), fields.body_id);
  return true;
}

std::shared_ptr<body_owner> session::memory_of(std::uint32_t segment,
                                               std::span<const std::byte>& bytes) {
  for (auto it = memories_.rbegin(); it != memories_.rend(); ++it) {
    if ((*it)->id == segment) {
      bytes = (*it)->segment.bytes();
      return *it;
    }
  }
  return nullptr;
}

void session::add_segment(std::uint32_t id, std::uint64_t size_bytes, const unique_fd& memfd) {
  std::span<const std::byte> known;
  if (id == 0 || memory_of(id, known)) return spoil("a body segment with a number in use");
  if (memories_.size() == max_peer_segments) return spoil("too many body segments");
  auto mapped = peer_segment::map(memfd, size_bytes);
  if (!mapped) {
    const errc code = mapped.error().code == errc::corrupt ? errc::corrupt : errc::unavailable;
    return core_->fail(code,
                       fmt::format("a body segment of the peer: {}", mapped.error().message()));
  }
  memories_.push_back(std::make_shared<peer_memory>(id, std::move(*mapped), core_));
}

void session::retire(std::uint32_t id) {
  // Bodies that still lie in it keep the mapping; the owner promised that there are none.
  const auto erase = [&] {
    return std::erase_if(memories_, [&](const auto& memory) { return memory->id == id; }) != 0;
  };
  if (erase()) return;
  // Unused from first to last, it may still lie in the socket: or we would map it after its end.
  serve_socket();
  if (!erase() && !core_->over()) spoil("a retired segment that was never sent");
}

void session::spoil(const char* what) { core_->fail(errc::corrupt, what); }

void session::owe_nothing() {
  if (records_.give_back()) core_->announce(news::room);
}

void session::serve_socket() {
  std::array<std::byte, max_packet_bytes> buffer;
  // A bound per visit, so that a peer that floods the socket cannot hold us here.
  for (int turn = 0; turn < 256 && !peer_gone_ && !core_->over(); ++turn) {
    auto got = receive_packet(core_->socket(), buffer);
    if (!got) {
      switch (got.error().code) {
        case errc::empty: return;
        case errc::unavailable: peer_gone_ = true; return;
        case errc::corrupt: return spoil(got.error().what);
        default: return core_->fail(got.error().code, got.error().message());
      }
    }
    packet_header header{};
    if (got->size_bytes < sizeof header) return spoil("a packet shorter than its header");
    std::memcpy(&header, buffer.data(), sizeof header);
    if (header.size_bytes != got->size_bytes) return spoil("a packet of another size than it says");
    const std::size_t descriptors = header.kind == packet_kind::segment ? 1 : 0;
    if (got->fd_count != descriptors) return spoil("a packet with a wrong number of descriptors");
    switch (header.kind) {
      case packet_kind::wakeup: break;
      case packet_kind::bye: said_bye_ = true; break;
      case packet_kind::reject: {
        // It read our hello after we had read its own, and does not want us.
        const auto packet = std::span<const std::byte>(buffer).first(got->size_bytes);
        if (packet.size() < sizeof(reject_packet)) return spoil("a reject packet of a wrong size");
        const call_error why = read_reject(packet);
        return core_->fail(why.code, why.text);
      }
      case packet_kind::segment: {
        segment_packet packet{};
        if (got->size_bytes != sizeof packet) return spoil("a segment packet of a wrong size");
        std::memcpy(&packet, buffer.data(), sizeof packet);
        add_segment(packet.id, packet.size_bytes, got->fds[0]);
        break;
      }
      default: return spoil("a packet of an unknown kind");
    }
  }
}

// --- waiting ------------------------------------------------------------------------------------

bool session::peer_is_elsewhere() const noexcept {
  return current_cpu() + 1 != core_->theirs().sleep.cpu.load(std::memory_order_relaxed);
}

bool session::spinning_pays() noexcept {
  if (const std::uint32_t cpu = current_cpu() + 1; cpu != my_cpu_) {
    my_cpu_ = cpu;
    core_->mine().sleep.cpu.store(cpu, std::memory_order_relaxed);  // a hint for the peer's spinner
  }
  switch (core_->options().wait.mode) {
    case wait_mode::spin: return true;
    case wait_mode::block: return false;
    case wait_mode::adaptive: break;
  }
  return policy_.budget_ns() != 0 && peer_is_elsewhere() && !loop_->works_here();
}

woke session::wait(std::optional<clock::time_point> deadline, bool for_room, condition until) {
  const wait_mode mode = core_->options().wait.mode;
  if (core_->over()) return woke::over;
  if (has_input()) {
    policy_.came_after(0);
    return woke::input;
  }
  const bool together = !peer_is_elsewhere();
  if (spinning_pays() && (!together || move_away())) {
    for (int look = 0; look < glance_looks; ++look) {
      if (records_.ready()) {
        policy_.came_after(0);
        return woke::input;
      }
      cpu_pause();
    }
  } else if (together && mode != wait_mode::spin && !move_away()) {
    // The peer shares our CPU: to hand it over for a moment is cheaper than any sleep and wakeup.
    owe_nothing();
    for (int look = 0; look < yield_looks; ++look) {
      ::sched_yield();
      if (has_input()) return woke::input;
    }
  }
  const auto began = clock::now();
  if (deadline && began >= *deadline) return woke::timeout;
  if (mode != wait_mode::block) {
    const woke how = spin(deadline, until, began);
    if (how != woke::timeout || mode == wait_mode::spin) return how;
  }
  return sleep(deadline, for_room, until, began);
}

// Leaves a CPU that the peer uses too, by forbidding it to this thread for an instant.
bool session::move_away() noexcept {
  if (!movable_ || core_->options().wait.mode == wait_mode::block || !policy_.try_to_part()) {
    return false;
  }
  cpu_set_t allowed, others, now;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  others = allowed;
  CPU_CLR(current_cpu(), &others);
  if (CPU_COUNT(&others) == 0 || ::sched_setaffinity(0, sizeof others, &others) != 0) return false;
  // Whoever set another affinity in this instant shall have his way.
  if (::sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &others)) {
    (void)::sched_setaffinity(0, sizeof allowed, &allowed);
  }
  return spinning_pays();  // and tells the peer where we are now
}

// Returns timeout when the spinning is over, be it for good or to go to sleep.
woke session::spin(std::optional<clock::time_point> deadline, const condition& until,
                   clock::time_point began) {
  const bool adaptive = core_->options().wait.mode == wait_mode::adaptive;
  auto stop = clock::time_point::max();
  if (adaptive) {
    const auto budget = std::chrono::nanoseconds(policy_.budget_ns());
    if (budget == 0ns) return woke::timeout;
    if (!peer_is_elsewhere() || loop_->works_here()) return woke::timeout;
    policy_.apart();
    stop = began + budget;
  }
  auto seen = began;
  auto next_socket_look = began + spin_socket_look;
  for (;;) {
    for (int look = 0; look < 16; ++look) {
      if (records_.ready()) {
        if (adaptive) policy_.came_after((clock::now() - began).count());
        return woke::input;
      }
      cpu_pause();
    }
    if (core_->over()) return woke::over;
    if (until()) return woke::condition;
    const auto now = clock::now();
    if (deadline && now >= *deadline) return woke::timeout;
    if (now >= next_socket_look) {
      serve_socket();
      if (has_input()) return woke::input;
      core_->trim(false);
      next_socket_look = now + spin_socket_look;
    }
    if (adaptive) {
      if (now >= stop) return woke::timeout;
      if (now - seen > preemption_gap) {
        policy_.preempted();
        return woke::timeout;
      }
      // Together on one CPU, spinning only keeps the peer from running, or our own work.
      if (!peer_is_elsewhere() || loop_->works_here()) return woke::timeout;
    }
    seen = now;
  }
}

woke session::sleep(std::optional<clock::time_point> deadline, bool for_room,
                    const condition& until, clock::time_point began) {
  owe_nothing();
  const std::uint64_t room = for_room || wants_room_ ? wants_room : awake;
  // Nothing is learned while the CPU is wanted for our own work: it says nothing of the peer.
  const bool learns = core_->options().wait.mode == wait_mode::adaptive && !loop_->works_here();
  const auto came = [&](woke how) {
    sleeper_.lower();
    if (learns) policy_.came_after((clock::now() - began).count());
    return how;
  };
  // First on the bell: the cheapest wakeup there is, but blind to the end of the socket.
  const auto bell_end = began + bell_in_all + core_->options().wait.spin_limit;
  for (auto now = began; now < bell_end; now = clock::now()) {
    if (deadline && now >= *deadline) return woke::timeout;
    const std::uint32_t bell = sleeper_.raise(on_bell | room);
    if (has_input()) return came(woke::input);
    if (until()) return came(woke::condition);
    const auto left =
        deadline ? std::min<clock::duration>(*deadline - now, bell_slice) : bell_slice;
    loop_->sleeps_on(&core_->theirs().sleep.bell);
    futex_wait(core_->theirs().sleep.bell, bell, left);
    loop_->sleeps_on(nullptr);
    if (has_input()) return came(woke::input);
    if (until()) return came(woke::condition);
    sleeper_.lower();
    serve_socket();  // a wakeup without news may announce the end
    if (has_input()) return came(woke::input);
    if (core_->over()) return woke::over;
  }
  // Then in the reactor, for as long as it takes.
  for (;;) {
    const auto now = clock::now();
    if (deadline && now >= *deadline) return woke::timeout;
    std::optional<std::chrono::nanoseconds> left;
    if (deadline) left = *deadline - now;
    if (const auto shrink = core_->arena().next_shrink()) {
      if (*shrink <= now) {
        core_->trim(false);
        continue;
      }
      left = left ? std::min<std::chrono::nanoseconds>(*left, *shrink - now) : *shrink - now;
    }
    // Bodies that come back let idle memory go: worth a wakeup, since nothing else is happening.
    const std::uint64_t returns = core_->lent().outstanding() != 0 ? wants_room : awake;
    (void)sleeper_.raise(in_reactor | room | returns);
    if (core_->collect_returns()) continue;  // there may be memory now that will have been idle
    if (has_input()) return came(woke::input);
    if (until()) return came(woke::condition);
    const auto slept = loop_->wait_events(left);
    sleeper_.lower();
    if (!slept) {
      core_->fail(slept.error().code, slept.error().message());
      return woke::over;
    }
    if (has_input()) return came(woke::input);
    if (core_->over()) return woke::over;
    if (until()) return woke::condition;
  }
}

void session::arm() {
  owe_nothing();
  const bool room = wants_room_ || wakes_for_room_ || core_->lent().outstanding() != 0;
  (void)sleeper_.raise(in_reactor | (room ? wants_room : awake));
  armed_ = true;
  core_->collect_returns();
}

session::clock::time_point session::next_due() noexcept {
  return core_->arena().next_shrink().value_or(clock::time_point::max());
}

void session::disarm() noexcept {
  if (!armed_) return;
  armed_ = false;
  sleeper_.lower();
}

}  // namespace ferry
