#include "engine/channel/listener.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "engine/channel/addresses.h"
#include "engine/channel/channel_impl.h"
#include "engine/channel/make_link.h"
#include "engine/channel/tls_cipher.h"
#include "engine/session/layout.h"
#include "shm/birthplace.h"
#include "shm/socket.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr int accepted_at_once = 16;      // of one turn
constexpr auto pause_when_short = 100ms;  // of descriptors or memory
constexpr auto grace = 100ms;             // of a handshake whose place others want
constexpr int backlog = 1024;

// Holds a place among max_connections for as long as a channel lives.
struct place {
  explicit place(std::shared_ptr<std::atomic<std::uint32_t>> in) : taken(std::move(in)) {
    taken->fetch_add(1, std::memory_order_relaxed);
  }
  ~place() { taken->fetch_sub(1, std::memory_order_relaxed); }
  place(const place&) = delete;
  place& operator=(const place&) = delete;
  std::shared_ptr<std::atomic<std::uint32_t>> taken;
};

// A word of why for whoever is not let in, as far as the socket takes it at once.
void turn_away(int socket, const std::string& transport, const channel_error& why) {
  if (transport == "shm+unix") {
    std::array<std::byte, max_packet_bytes> packet{};
    const std::size_t text = std::min(why.text.size(), packet.size() - sizeof(reject_packet));
    reject_packet head{};
    head.header = {packet_kind::reject, static_cast<std::uint32_t>(sizeof head + text)};
    head.code = static_cast<std::uint32_t>(why.code);
    std::memcpy(packet.data(), &head, sizeof head);
    std::memcpy(packet.data() + sizeof head, why.text.data(), text);
    (void)send_packet(socket, std::span(packet).first(head.header.size_bytes));
  } else if (transport != "tls") {
    message refusal = refusal_message(why);
    const frame_fields fields = control_fields(frame_kind::refusal, refusal);
    std::vector<std::byte> frame(sizeof(frame_header) + fields.head_size);
    const frame_header header = header_of(fields);
    std::memcpy(frame.data(), &header, sizeof header);
    write_head(refusal, std::span(frame).subspan(sizeof header));
    (void)::send(socket, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}

channel_error too_many() { return {errc::limit, "too many connections"}; }

class listener_impl final : public channel_listener,
                            public loop_source,
                            public std::enable_shared_from_this<listener_impl> {
 public:
  listener_impl(std::string transport, listener_options options, ferry::loop driven_by,
                on_accepted accepted, on_refused refused)
      : transport_(std::move(transport)),
        options_(std::move(options)),
        loop_(std::move(driven_by)),
        core_(*loop_.core()),
        accepted_(std::move(accepted)),
        refused_(std::move(refused)) {
    options_.channel.loop = loop_;
    options_.channel.connect_timeout = options_.handshake_timeout;
    options_.max_handshakes = std::max(options_.max_handshakes, 1u);
  }
  ~listener_impl() override { close(); }

  result<void, channel_error> open(const std::string& address);

  // --- channel_listener -------------------------------------------------------------------------
  std::string address() const override { return address_; }
  listener_stats get_stats() const override;
  void close() override;
  ferry::loop& loop() noexcept override { return loop_; }

  // --- loop_source ------------------------------------------------------------------------------
  std::size_t turn() override;
  bool has_input() noexcept override { return readable_; }
  void ready(std::uint8_t, const reactor_event&) override { readable_ = true; }
  void arm() override {}
  void disarm() noexcept override {}
  clock::time_point next_due() noexcept override { return resume_; }
  std::size_t tick(clock::time_point now) override;

 private:
  struct caller {
    std::shared_ptr<channel_impl> channel;
    clock::time_point came;
  };
  void welcome(unique_fd socket);
  bool somebody_waits() const noexcept;
  bool oldest_gives_way();
  void pause(clock::time_point until);
  void go_on(clock::time_point now);
  void handshake_ended(std::uint64_t number, result<void, channel_error> how);
  result<void, channel_error> admit(const channel_hello& hello, const channel_peer& peer);

  birthplace made_in_;
  const std::string transport_;
  listener_options options_;
  ferry::loop loop_;
  loop_core& core_;
  on_accepted accepted_;
  on_refused refused_;
  std::optional<path_socket> path_;
  unique_fd socket_;
  std::string address_;
  bool joined_ = false;
  bool readable_ = false;
  clock::time_point resume_ = clock::time_point::max();  // while paused
  std::uint64_t next_number_ = 0;
  std::map<std::uint64_t, caller> greeting_;  // the oldest first
  std::shared_ptr<std::atomic<std::uint32_t>> connections_ =
      std::make_shared<std::atomic<std::uint32_t>>(0);
  std::atomic<std::uint64_t> accepted_count_{0}, refused_count_{0}, turned_away_{0};
  std::atomic<std::uint32_t> handshakes_{0};
};

result<void, channel_error> listener_impl::open(const std::string& address) {
  if (!has_transport(transport_) || transport_ == "memory") {
    return channel_error(errc::unsupported_channel, "nobody can listen on \"" + transport_ + "\"");
  }
  if (transport_ == "unix" || transport_ == "shm+unix") {
    auto made =
        path_socket::listen(address, transport_ == "unix" ? SOCK_STREAM : SOCK_SEQPACKET, backlog);
    if (!made) return made.error();
    path_.emplace(std::move(*made));
    socket_ = path_->take();
    address_ = address;
  } else {
    if (transport_ == "tls") {  // a bad certificate is told now and not to the first who comes
      if (auto tried = accept_tls(options_.channel.tls); !tried) return tried.error();
    }
    auto made = listen_host(address, backlog);
    if (!made) return made.error();
    socket_ = std::move(made->socket);
    address_ = made->address;
  }
  const wheel_guard wheel(core_);
  core_.add(*this);
  joined_ = true;
  if (auto watched = core_.watch(*this, socket_.get(), 0); !watched) {
    return channel_error(watched.error());
  }
  return {};
}

void listener_impl::close() {
  if (made_in_.left()) return;  // a forked child: its parent goes on listening
  const wheel_guard wheel(core_);
  if (!std::exchange(joined_, false)) return;
  core_.unwatch(socket_.get());
  core_.remove(*this);
  path_.reset();  // while we listen: or the name could be a successor's by now
  socket_ = unique_fd();
  handshakes_ = 0;
  // Ends them. Each tells us so while it goes: by then the table must be empty already.
  const auto ended = std::exchange(greeting_, {});
}

listener_stats listener_impl::get_stats() const {
  return {accepted_count_, refused_count_, turned_away_, *connections_, handshakes_};
}

std::size_t listener_impl::tick(clock::time_point now) {
  if (now >= resume_) go_on(now);
  return 0;
}

// Whoever comes meanwhile stays in the backlog; to be told of them would only burn the CPU.
void listener_impl::pause(clock::time_point until) {
  readable_ = false;
  core_.unwatch(socket_.get());
  resume_ = until;
  core_.due(resume_);
}

void listener_impl::go_on(clock::time_point now) {
  resume_ = clock::time_point::max();
  if (!core_.watch(*this, socket_.get(), 0)) resume_ = now + pause_when_short;  // still short
}

std::size_t listener_impl::turn() {
  const auto self = weak_from_this().lock();
  if (!self || !readable_) return 0;
  std::size_t count = 0;
  for (; count < accepted_at_once && joined_; ++count) {
    if (greeting_.size() >= options_.max_handshakes) {
      readable_ = somebody_waits();
      if (!readable_) break;
      if (!oldest_gives_way()) {
        pause(greeting_.begin()->second.came + grace);
        break;
      }
    }
    unique_fd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      welcome(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    readable_ = false;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pause(clock::now() + pause_when_short);
    }
    break;
  }
  return count;
}

bool listener_impl::somebody_waits() const noexcept {
  pollfd backlogged{socket_.get(), POLLIN, 0};
  return ::poll(&backlogged, 1, 0) > 0;
}

// Silent callers keep nobody out: who has had its time and not said who it is goes first.
bool listener_impl::oldest_gives_way() {
  if (greeting_.empty() || clock::now() < greeting_.begin()->second.came + grace) return false;
  const auto oldest = greeting_.extract(greeting_.begin());
  handshakes_ = static_cast<std::uint32_t>(greeting_.size());
  turned_away_.fetch_add(1, std::memory_order_relaxed);
  oldest.mapped().channel->turn_away(too_many());
  return true;
}

void listener_impl::welcome(unique_fd socket) {
  // First of all: over shared memory the session's hello already hands over a segment of ours.
  if (auto same = check_uid(socket.get(), options_.channel.allowed_uids); !same) {
    turn_away(socket.get(), transport_, same.error());
    refused_count_.fetch_add(1, std::memory_order_relaxed);
    if (refused_) refused_(same.error());
    return;
  }
  if (connections_->load(std::memory_order_relaxed) >= options_.max_connections &&
      !oldest_gives_way()) {
    turned_away_.fetch_add(1, std::memory_order_relaxed);
    return turn_away(socket.get(), transport_, too_many());
  }
  tune_socket(socket.get(), options_.channel.liveness_limit);
  auto link =
      make_link(transport_, std::move(socket), true, nullptr, "", options_.channel, loop_.core());
  if (!link) {
    refused_count_.fetch_add(1, std::memory_order_relaxed);
    if (refused_) refused_(link.error());
    return;
  }
  static const auto nobody = runtime_instance_id::make(runtime_type::process, "unknown");
  auto made =
      std::make_shared<channel_impl>(channel_impl::role::accepts, *nobody, options_.channel, loop_);
  const std::uint64_t number = ++next_number_;
  greeting_.emplace(number, caller{made, clock::now()});
  handshakes_ = static_cast<std::uint32_t>(greeting_.size());
  made->begin(
      std::move(*link),
      [weak = weak_from_this()](channel_hello& hello,
                                const channel_peer& peer) -> result<void, channel_error> {
        const auto self = weak.lock();
        if (!self) return channel_error(errc::closed, "the listener has gone");
        return self->admit(hello, peer);
      },
      [weak = weak_from_this(), number](result<void, channel_error>&& how) {
        if (const auto self = weak.lock()) self->handshake_ended(number, std::move(how));
      },
      std::make_shared<place>(connections_));
}

result<void, channel_error> listener_impl::admit(const channel_hello& hello,
                                                 const channel_peer& peer) {
  // The token goes last: one that opens nothing is not spent.
  if (options_.admit) {
    if (auto good = options_.admit(hello.instance, peer); !good) {
      channel_error why = std::move(good).error();
      // With any other code the caller would try again, and then on a weaker channel.
      if (why.code != errc::unauthorized) why.code = errc::authentication_failed;
      return why;
    }
  }
  if (!options_.tokens) return {};
  if (!hello.token) return channel_error(errc::authentication_failed, "no token");
  if (auto good = options_.tokens->redeem(hello.instance, *hello.token); !good) {
    return channel_error(good.error().code, good.error().what);
  }
  return {};
}

void listener_impl::handshake_ended(std::uint64_t number, result<void, channel_error> how) {
  const auto found = greeting_.find(number);
  if (found == greeting_.end()) return;
  const channel_ptr made = std::move(found->second.channel);
  greeting_.erase(found);
  handshakes_ = static_cast<std::uint32_t>(greeting_.size());
  if (resume_ != clock::time_point::max()) go_on(clock::now());  // there is a place again
  if (how) {
    accepted_count_.fetch_add(1, std::memory_order_relaxed);
    return accepted_(made);
  }
  refused_count_.fetch_add(1, std::memory_order_relaxed);
  if (refused_) refused_(how.error());
}

}  // namespace

result<std::shared_ptr<channel_listener>, channel_error> channel_listener::open(
    const channel_target& where, listener_options options, on_accepted accepted,
    on_refused refused) {
  std::optional<ferry::loop> loop = options.channel.loop;
  if (!loop) {
    auto own = ferry::loop::create({options.channel.session.reactor, {}});
    if (!own) return channel_error(own.error());
    loop = *own;
  }
  if (loop->core()->forked()) return channel_error(loop_core::not_ours());
  auto made = std::make_shared<listener_impl>(where.transport, std::move(options), *loop,
                                              std::move(accepted), std::move(refused));
  if (auto opened = made->open(where.address); !opened) return opened.error();
  return std::shared_ptr<channel_listener>(std::move(made));
}

}  // namespace ferry
