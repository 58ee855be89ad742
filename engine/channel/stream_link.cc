#include "engine/channel/stream_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "shm/coarse_clock.h"

namespace ferry {
namespace {

constexpr auto spares_kept = std::chrono::seconds(1);  // memory of an idle stream
constexpr int drained_at_end = 64;
constexpr int pulls_at_once = 8;  // reads of one turn, so that one stream cannot hold the loop
constexpr std::size_t sealed_at_once = 64 << 10;  // of a large message; it waits in the open

std::string text_of_errno(const char* call, int why) {
  return error{errc::system, why, call}.message();
}

}  // namespace

stream_link::stream_link(unique_fd socket, std::string_view type, stream_limits limits,
                         std::unique_ptr<host_connect> connecting,
                         std::unique_ptr<stream_cipher> cipher)
    : socket_(std::move(socket)),
      type_(type),
      max_bytes_(limits.message_bytes),
      cipher_(std::move(cipher)),
      outbox_(limits.outbox_bytes),
      connecting_(std::move(connecting)) {
  sending_.socket = receiving_.socket = socket_.get();
  sending_.message.msg_iov = sending_.pieces.data();
  receiving_.message.msg_iov = receiving_.pieces.data();
  receiving_.receives = true;
  sending_.completed = [](socket_transfer& self, std::int64_t outcome) noexcept {
    auto& mine = static_cast<outgoing&>(self);
    mine.busy = false;
    stream_link& link = mine.link;
    const auto after = link.outbox_.end_write(outcome);
    link.wrote(outcome, after);
    // Others may have added to it, and seen that a write is under way.
    if (after.more) link.write_now();
  };
  receiving_.completed = [](socket_transfer& self, std::int64_t outcome) noexcept {
    auto& mine = static_cast<incoming&>(self);
    mine.busy = false;
    mine.link.absorb(outcome);
  };
  if (!connecting_) find_peer();
}

stream_link::~stream_link() { leave(); }

void stream_link::find_peer() {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_UNIX) {
    ucred who{};
    socklen_t length = sizeof who;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return;
    peer_.pid = who.pid;
    peer_.uid = who.uid;
  } else if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    peer_.address = std::string(text) + ":" + std::to_string(ntohs(in.sin_port));
  } else if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    peer_.address = "[" + std::string(text) + "]:" + std::to_string(ntohs(in.sin6_port));
  }
}

// --- the loop -----------------------------------------------------------------------------------

result<void> stream_link::join(loop_core& loop, loop_source& source, link_sink& sink) {
  if (auto watched = loop.watch(source, socket_.get(), 0); !watched) return watched;
  loop_ = &loop;
  source_ = &source;
  sink_ = &sink;
  set_interest();
  if (cipher_ && !connecting_) {
    if (auto began = cipher_->begin(socket_.get()); !began) failure_ = began.error();
  }
  return {};
}

void stream_link::leave() noexcept {
  if (!socket_) return;
  if (made_in_.left()) {  // a forked child: the connection is its parent's
    socket_ = unique_fd();
    return;
  }
  if (loop_ != nullptr) {
    if (!unwatched_) loop_->unwatch(socket_.get());
    loop_->io().flush();  // no transfer is held back any more: both have completed
  }
  outbox_.close();
  if (cipher_) cipher_->detach();  // another thread may be flushing it
  // Closing a TCP socket with bytes unread throws away what the peer has not got yet.
  ::shutdown(socket_.get(), SHUT_WR);
  std::array<std::byte, 4096> unread;
  for (int i = 0; i < drained_at_end; ++i) {
    if (::recv(socket_.get(), unread.data(), unread.size(), MSG_DONTWAIT | MSG_TRUNC) <= 0) break;
  }
  socket_ = unique_fd();
}

void stream_link::set_interest() noexcept {
  if (loop_ == nullptr || !socket_) return;
  const std::pair wanted(!paused_ && !connecting_ && !ended_, asked_for_room_ || connecting_);
  if (wanted == interest_ || unwatched_) return;
  interest_ = wanted;
  (void)loop_->io().interest(socket_.get(), wanted.first, wanted.second);
}

void stream_link::ready(std::uint8_t, const reactor_event& event) {
  if (connecting_) {
    if (event.writable || event.hung_up) finish_connect();
    return;
  }
  if (event.writable) {
    asked_for_room_ = false;
    outbox_.room();
    set_interest();
  }
  if (event.hung_up && (paused_ || ended_)) {
    // Level-triggered: it would be told again and again. What lies there is read when it can be.
    loop_->unwatch(socket_.get());
    unwatched_ = true;
    readable_ = true;
    return;
  }
  if (!event.readable && !event.hung_up) return;
  readable_ = true;
  if (cipher_ || receiving_.busy || paused_) return;
  // Of many sockets that are ready all reads leave in one submission.
  const std::size_t count = prepare(receiving_.pieces, true);
  if (count == 0) return;
  receiving_.message.msg_iovlen = count;
  receiving_.busy = true;
  loop_->io().start(receiving_);
}

void stream_link::finish_connect() {
  int why = 0;
  socklen_t size = sizeof why;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &why, &size) != 0) why = errno;
  if (why != 0) return connect_next(text_of_errno("connect", why));
  find_peer();
  if (peer_.address.empty()) return;  // an event of the socket before this one
  connecting_.reset();
  set_interest();
  if (cipher_) {
    if (auto began = cipher_->begin(socket_.get()); !began) failure_ = began.error();
  }
}

// The address that was tried is of no use: on to the one behind it.
void stream_link::connect_next(const std::string& why) {
  connecting_->failed(why);
  auto next = connecting_->next(clock::now());
  sink_->wake();  // also from tick(), while the loop thinks that we sleep
  if (!next) {
    failure_ = connecting_->error();
    connecting_.reset();
    return;
  }
  loop_->unwatch(socket_.get());
  socket_ = std::move(next->socket);
  sending_.socket = receiving_.socket = socket_.get();
  interest_ = {true, false};
  if (auto watched = loop_->watch(*source_, socket_.get(), 0); !watched) {
    unwatched_ = true;
    return fail(errc::connection_failed, watched.error().message());
  }
  set_interest();
  if (!next->pending) finish_connect();
}

bool stream_link::has_input() noexcept {
  if (receiving_.busy || failure_) return true;
  if (broken_write_.load(std::memory_order_relaxed)) {
    return !paused_ || sink_->wants_more();  // lost() waits until what has come is taken
  }
  const bool blocked = outbox_.full() || (cipher_ && cipher_->pending());
  if (blocked && !asked_for_room_) return true;
  if (!blocked && outbox_.any() && !connecting() && !sending_.busy) return true;
  if (paused_) return sink_->wants_more();
  // A read that began between two turns may have completed after the last one: nobody tells of its
  // bytes a second time.
  return readable_ || came_;
}

void stream_link::arm() {
  if (!receiving_.busy && !in_body_ && !paused_) buffer_.rest();
  if (used_.exchange(false, std::memory_order_relaxed)) idle_since_ = coarse_now();
}

channel_link::clock::time_point stream_link::next_due() noexcept {
  if (connecting_) return connecting_->due();
  const bool spares = outbox_.has_spares() || (cipher_ && cipher_->has_spares());
  return spares ? idle_since_ + spares_kept : clock::time_point::max();
}

void stream_link::tick() {
  if (connecting_ && clock::now() >= connecting_->due()) {
    const auto ms = std::to_string(connecting_->share().count());
    return connect_next("no answer within " + ms + " ms, its share of the time");
  }
  if (coarse_now() < idle_since_ + spares_kept) return;
  outbox_.trim();
  if (cipher_) cipher_->trim();
}

void stream_link::fail(errc code, std::string text) {
  if (!failure_) failure_.emplace(code, std::move(text));
}

std::optional<channel_error> stream_link::lost() {
  if (failure_) return failure_;
  if (paused_ || readable_) return std::nullopt;  // there may be more to hand out
  if (ended_) {
    if (buffer_.size() != 0 || in_body_) {
      return channel_error(errc::unavailable, "the connection ended within a frame");
    }
    return channel_error(errc::unavailable, "the peer closed the connection");
  }
  if (broken_write_.load(std::memory_order_relaxed)) {
    return channel_error(errc::unavailable, "the connection is broken");
  }
  return std::nullopt;
}

// --- writing ------------------------------------------------------------------------------------

void stream_link::wrote(std::int64_t outcome, frame_outbox::after_write after) noexcept {
  if (outcome < 0 && outcome != -EAGAIN) broken_write_.store(true, std::memory_order_relaxed);
  if (after.made_room) sink_->has_room();
  if (outcome < 0 || outbox_.full()) sink_->wake();  // it asks for room, or ends the channel
}

result<void> stream_link::send(const frame_fields& fields, message& what, bool urgent) {
  if (!used_.load(std::memory_order_relaxed)) used_.store(true, std::memory_order_relaxed);
  if (!driving()) return outbox_.push(fields, what, urgent);
  if (auto staged = outbox_.stage(fields, what, urgent); !staged) return staged;
  // The peer works on the first of many while we make the others.
  if (outbox_.staged() >= written_early && !connecting()) write_now();
  return {};
}

void stream_link::write_now() noexcept {
  if (driving()) outbox_.settle();
  if (cipher_) return write_sealed();
  for (;;) {
    struct write_at_once : socket_transfer {
      std::int64_t outcome = 0;
    } transfer;
    std::array<iovec, 64> pieces;
    transfer.message.msg_iov = pieces.data();
    transfer.message.msg_iovlen = outbox_.begin_write(pieces);
    if (transfer.message.msg_iovlen == 0) return;
    transfer.socket = socket_.get();  // not before: from here leave() waits for us
    transfer.completed = [](socket_transfer& self, std::int64_t how) noexcept {
      static_cast<write_at_once&>(self).outcome = how;
    };
    transfer_now(transfer);
    const std::int64_t outcome = transfer.outcome;
    const auto after = outbox_.end_write(outcome);
    wrote(outcome, after);
    if (!after.more) return;
  }
}

void stream_link::write() noexcept {
  outbox_.settle();
  if (connecting_ || !socket_) return;
  if (cipher_) write_sealed();
  if (outbox_.full() || (cipher_ && cipher_->pending())) {
    if (!broken_write_.load(std::memory_order_relaxed)) asked_for_room_ = true;
    return set_interest();
  }
  if (cipher_ || sending_.busy) return;
  sending_.message.msg_iovlen = outbox_.begin_write(sending_.pieces);
  if (sending_.message.msg_iovlen == 0) return;
  sending_.busy = true;
  loop_->io().start(sending_);
}

bool stream_link::flushed() noexcept { return !outbox_.any() && !(cipher_ && cipher_->pending()); }

void stream_link::write_sealed() noexcept {
  for (;;) {
    if (!cipher_->flush()) return asked_for_room_ ? void() : sink_->wake();
    if (!cipher_->open()) return;
    std::array<iovec, 16> pieces;
    const std::size_t count = outbox_.begin_write(pieces, sealed_at_once);
    if (count == 0) return;
    const auto sealed = cipher_->seal(std::span(pieces).first(count));
    std::int64_t taken = 0;
    for (const iovec& each : std::span(pieces).first(count)) {
      taken += static_cast<std::int64_t>(each.iov_len);
    }
    const auto after = outbox_.end_write(sealed ? taken : -EPIPE);
    wrote(sealed ? taken : -EPIPE, after);
  }
}

// --- reading ------------------------------------------------------------------------------------

std::size_t stream_link::read(std::size_t limit) {
  if (!socket_ || connecting_) return 0;
  if (receiving_.busy) loop_->io().flush();
  came_ = false;
  if (broken_write_.load(std::memory_order_relaxed) && !std::exchange(read_to_end_, true)) {
    readable_ = true;  // whoever closed it may have said why
  }
  std::size_t count = 0;
  bool stopped = false;
  for (int pulls = 0; !failure_;) {
    step last = step::frame;
    while (count < limit && last == step::frame && !failure_) {
      if (stopped = !sink_->wants_more(); stopped) break;
      last = next_frame();
      if (last == step::frame) ++count;
    }
    if (stopped || last != step::needs_more) break;
    if (!readable_ || ++pulls > pulls_at_once) break;
    if (cipher_) {
      pull_sealed();
    } else {
      pull();
    }
  }
  if (!stopped && count >= limit) came_ = true;  // there may be more frames in the buffer
  paused_ = stopped;
  set_interest();
  return count;
}

stream_link::step stream_link::next_frame() {
  if (in_body_) {
    if (body_filled_ < fields_.data_size) return step::needs_more;
    in_body_ = false;
    large_.data = std::move(body_.content);
    has_fields_ = false;
    sink_->take(fields_, std::move(large_));
    return step::frame;
  }
  auto bytes = buffer_.bytes();
  if (!has_fields_) {
    if (bytes.size() < sizeof(frame_header)) return step::needs_more;
    const auto good = read_header(bytes.first(sizeof(frame_header)), max_bytes_, fields_);
    if (!good) {
      const errc code = good.error().code;
      fail(code == errc::frame_too_large || code == errc::version_mismatch ? code : errc::corrupt,
           good.error().message());
      return step::broken;
    }
    has_fields_ = true;
  }
  const bool large = fields_.data_size > read_with_others;
  const std::size_t front = sizeof(frame_header) + fields_.head_size;
  if (bytes.size() < front + (large ? 0 : fields_.data_size)) return step::needs_more;
  message what;
  const auto head = bytes.subspan(sizeof(frame_header), fields_.head_size);
  if (auto good = read_message(fields_, head, what); !good) {
    fail(errc::corrupt, good.error().message());
    return step::broken;
  }
  if (large) {
    body_ = new_body(fields_.data_size);
    body_filled_ = std::min<std::size_t>(bytes.size() - front, fields_.data_size);
    std::memcpy(body_.bytes, bytes.data() + front, body_filled_);
    buffer_.drop(front + body_filled_);
    large_ = std::move(what);
    in_body_ = true;
    return next_frame();
  }
  const auto data = bytes.subspan(front, fields_.data_size);
  if (data.size() <= body::tiny_bytes) {
    what.data = payload(body::tiny(data));
  } else {
    auto copy = new_body(data.size());
    std::memcpy(copy.bytes, data.data(), data.size());
    what.data = std::move(copy.content);
  }
  buffer_.drop(front + data.size());
  has_fields_ = false;
  sink_->take(fields_, std::move(what));
  return step::frame;
}

// Where the next bytes go: into the body that comes, then into the buffer.
std::size_t stream_link::prepare(std::span<iovec> into, bool only_spare) {
  std::size_t count = 0;
  if (in_body_ && body_filled_ < fields_.data_size) {
    into[count++] = {body_.bytes + body_filled_, fields_.data_size - body_filled_};
  }
  if (const auto room = buffer_.room(only_spare); !room.empty()) {
    into[count++] = {room.data(), room.size()};
  }
  return count;
}

void stream_link::pull() {
  receiving_.message.msg_iovlen = prepare(receiving_.pieces, false);
  receiving_.busy = true;
  transfer_now(receiving_);
}

void stream_link::absorb(std::int64_t outcome) {
  if (outcome == -EAGAIN) {
    readable_ = false;
    return;
  }
  if (outcome == -EINTR) return;
  came_ = true;
  if (outcome <= 0) {
    readable_ = false;
    ended_ = true;
    return;
  }
  auto left = static_cast<std::size_t>(outcome);
  used_.store(true, std::memory_order_relaxed);
  activity_ += left;
  std::size_t room = 0;
  for (const iovec& each : std::span(receiving_.pieces).first(receiving_.message.msg_iovlen)) {
    room += each.iov_len;
  }
  // That was all, and more is told again; but of a link that is not watched any more nobody tells
  // the end.
  if (left < room && !unwatched_) readable_ = false;
  if (in_body_ && body_filled_ < fields_.data_size) {
    const std::size_t part = std::min<std::size_t>(left, fields_.data_size - body_filled_);
    body_filled_ += part;
    left -= part;
  }
  buffer_.filled(left);
}

void stream_link::pull_sealed() {
  // Bounded, for not every record yields bytes for us.
  for (int reads = 0; reads <= pulls_at_once; ++reads) {
    std::array<iovec, 2> into;
    const std::size_t count = prepare(into, false);
    std::size_t got = 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto part = cipher_->read({static_cast<std::byte*>(into[i].iov_base), into[i].iov_len});
      if (!part) {
        failure_ = part.error();
        return;
      }
      receiving_.pieces[i] = into[i];
      got += *part;
      if (*part < into[i].iov_len) break;
    }
    if (cipher_->pending()) (void)cipher_->flush();  // write() asks for room
    if (got != 0) {
      receiving_.message.msg_iovlen = count;
      const bool more = readable_;
      absorb(static_cast<std::int64_t>(got));
      readable_ = more;
      return;
    }
    if (ended_) {
      readable_ = false;
      return;
    }
    std::array<std::byte, 32 << 10> sealed;
    const ssize_t outcome = ::recv(socket_.get(), sealed.data(), sealed.size(), MSG_DONTWAIT);
    if (outcome < 0 && (errno == EAGAIN || errno == EINTR)) {
      readable_ = false;
      return;
    }
    if (outcome <= 0) {
      ended_ = true;
      continue;
    }
    cipher_->feed(std::span(sealed).first(static_cast<std::size_t>(outcome)));
    if (!cipher_->open()) {
      if (auto on = cipher_->advance(); !on) {
        failure_ = on.error();
        (void)cipher_->flush();  // the alert
        return;
      }
    }
  }
}

}  // namespace ferry
