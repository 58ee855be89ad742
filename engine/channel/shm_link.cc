#include "engine/channel/shm_link.h"

#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

namespace ferry {

shm_link::shm_link(unique_fd socket, session_role role, session_options options,
                   std::uint64_t max_message_bytes, std::shared_ptr<loop_core> loop)
    : socket_(std::move(socket)),
      role_(role),
      options_(std::move(options)),
      max_bytes_(max_message_bytes),
      loop_(std::move(loop)) {
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) == 0) {
    peer_.pid = who.pid;
    peer_.uid = who.uid;
  }
}

shm_link::~shm_link() { leave(); }

// --- sending ------------------------------------------------------------------------------------

result<payload, channel_error> shm_link::borrow(std::uint64_t size_bytes) {
  if (!core_) return channel_error(errc::closed, "the link is not open");
  auto lent = core_->borrow(size_bytes + head_reserve);
  if (!lent) return channel_error(lent.error());
  payload room(std::move(*lent));
  room.narrow(0, size_bytes);
  return room;
}

result<void> shm_link::send(const frame_fields& fields, message& what, bool) {
  if (!core_) return error{errc::full, 0, "the link is not open yet"};
  if (!loop_->mine()) return publish(fields, what, session_core::notice::now);
  auto sent = publish(fields, what, session_core::notice::later);
  if (sent) unannounced_ = true;
  return sent;
}

result<void> shm_link::publish(const frame_fields& fields, message& what,
                               session_core::notice when) {
  const record_fields record = record_of(fields);
  const std::size_t data = what.data.size(), head = fields.head_size;
  if (loan* const lent = what.data.lent();
      lent != nullptr && what.data.data() == lent->data() && lent->size() - data >= head) {
    write_head(what, lent->bytes().subspan(data, head));
    lent->shrink(data + head);
    auto sent = core_->send(record, *lent, when);
    if (sent) what.data = {};
    if (sent || sent.error().code != errc::bad_argument) return sent;
    // A loan of another session: its bytes are copied.
  }
  if (data + head <= options_.inline_limit) {
    if (head == 0) return core_->send(record, what.data.bytes(), when);
    std::array<std::byte, 4096> together;
    if (data + head <= together.size()) {
      if (data != 0) std::memcpy(together.data(), what.data.data(), data);
      write_head(what, std::span(together).subspan(data, head));
      return core_->send(record, std::span(together).first(data + head), when);
    }
  }
  auto copy = core_->borrow(data + head);
  if (!copy) return copy.error();
  if (data != 0) std::memcpy(copy->data(), what.data.data(), data);
  write_head(what, copy->bytes().subspan(data, head));
  return core_->send(record, *copy, when);
}

void shm_link::write_now() noexcept {
  // Only what was sent: a peer that sleeps is woken for it, and would be for nothing.
  if (core_ && loop_->mine() && std::exchange(unannounced_, false)) core_->announce(news::records);
}

// --- the loop -----------------------------------------------------------------------------------

result<void> shm_link::join(loop_core& loop, loop_source& source, link_sink& sink) {
  sink_ = &sink;
  if (auto watched = loop.watch(source, socket_.get(), 0); !watched) return watched;
  joined_ = true;
  auto offered = offer_hello(socket_, role_, options_);
  if (!offered) {
    failure_.emplace(offered.error());
    return {};
  }
  offer_.emplace(std::move(*offered));
  return {};
}

void shm_link::leave() noexcept {
  // A forked child shares the reactor with its parent, which goes on watching.
  if (std::exchange(joined_, false) && !loop_->forked()) loop_->unwatch(fd());
  if (core_) core_->close();
  session_.reset();
  socket_ = unique_fd();
}

void shm_link::ready(std::uint8_t, const reactor_event&) {
  if (session_) {
    session_->serve_socket();
    // Level-triggered: its end would be told again and again.
    if (session_->peer_gone() && std::exchange(joined_, false)) loop_->unwatch(fd());
    return;
  }
  if (offer_) open(accept_hello(socket_, *offer_));
}

void shm_link::open(result<std::optional<established>, call_error> peers) {
  if (!peers) {
    failure_.emplace(peers.error());
    if (failure_->code == errc::unavailable) failure_->code = errc::connection_failed;
    return;
  }
  if (!*peers) return;
  core_ = session_core::adopt(std::move(socket_), options_, std::move(**peers));
  session_ = std::make_unique<session>(core_, loop_);
  session_->carry_messages();
  offer_.reset();
}

std::size_t shm_link::read(std::size_t limit) {
  if (!session_) return 0;
  std::size_t count = 0;
  paused_ = false;
  while (count < limit && !failure_) {
    if (!sink_->wants_more()) {
      paused_ = true;
      break;
    }
    const std::size_t got = session_->poll(
        [this](const record_fields& record, body&& content) { land(record, std::move(content)); },
        1);
    if (got == 0 || !session_) break;
    ++count;
  }
  activity_ += count;
  if (session_) {
    // What lies in the ring waits for the inbox, and so does the reason; senders must not.
    if (paused_) session_->hear_end();
    core_->collect_returns();
    if (room_wanted_ && session_->room_came()) {
      before_ = core_->peer_progress();
      sink_->has_room();
    }
  }
  return count;
}

void shm_link::land(const record_fields& record, body&& content) {
  auto fields = read_record(record, content.size(), max_bytes_);
  if (!fields) {
    failure_.emplace(fields.error());
    return;
  }
  message what;
  auto head = content.bytes().subspan(fields->data_size);
  std::vector<std::byte> copy;
  if (content.borrowed()) {  // the peer could change it while we look
    copy.assign(head.begin(), head.end());
    head = copy;
  }
  if (auto good = read_message(*fields, head, what); !good) {
    failure_.emplace(good.error());
    return;
  }
  what.data = payload(std::move(content));
  what.data.narrow(0, fields->data_size);
  sink_->take(*fields, std::move(what));
}

bool shm_link::has_input() noexcept {
  if (failure_) return true;
  if (!session_) return false;
  if (paused_) return sink_->wants_more() || (room_wanted_ && session_->room_came());
  if (core_->over()) return true;
  return session_->has_input();
}

void shm_link::arm() {
  if (session_) session_->arm();
}
void shm_link::disarm() noexcept {
  if (session_) session_->disarm();
}
channel_link::clock::time_point shm_link::next_due() noexcept {
  return session_ && !core_->over() ? session_->next_due() : clock::time_point::max();
}
void shm_link::tick() {
  if (core_ && !core_->over()) core_->trim(false);
}

void shm_link::want_room(bool wanted) noexcept {
  room_wanted_ = wanted;
  if (session_) session_->want_room(wanted, std::exchange(before_, {}));
}

std::optional<channel_error> shm_link::lost() {
  if (failure_) return failure_;
  if (paused_ || !core_ || !core_->over()) return std::nullopt;
  return channel_error(core_->failure());
}

}  // namespace ferry
