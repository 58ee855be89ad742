// Decodes    records, body references, returned ids, positions and packets of a hostile peer, by a
//            live session behind a good handshake.
// Input      one byte: which side the session plays; then operations of the peer (put records, with
//            the right ready word or anywhere; poke words; return bodies; send packets, segments
//            and descriptors; hang up) and of the session (read, send, drop bodies, rest).
// Property   the session goes on or ends with a reason, once and for all; every body handed out is
//            what its record says, lies in memory that the peer sent and can be read to its end,
//            also after its segment was retired and the session is gone; nothing stays lent, and no
//            descriptor or mapping is left behind.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "engine/session/session.h"
#include "tests/fault/hostile_peer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/leak_watch.h"

namespace ferry {
namespace {

constexpr std::uint64_t ring_bytes = 4096;
constexpr std::size_t most_steps = 256;
constexpr std::size_t most_kept = 64;

session_options options_of_victim() {
  session_options options;
  options.ring_bytes = ring_bytes;
  options.returns_cells = 16;
  options.inline_limit = 256;
  options.arena.quota_bytes = 1 << 20;
  options.arena.first_segment_bytes = 64 << 10;
  options.wait.mode = wait_mode::block;
  return options;
}

// What the peer may send as body segments. Made once, since nobody writes them; the last two are
// not what a segment must be.
struct segments {
  static constexpr std::size_t good = 3;
  std::array<raw_memory, good> memories{raw_memory(4096), raw_memory(16384), raw_memory(4096)};
  unique_fd hole = make_memfd({.size_bytes = 4096, .take_pages = false});
  unique_fd unsealed = make_memfd({.size_bytes = 4096, .seals = 0});

  segments() {
    unsigned number = 0;
    for (const raw_memory& memory : memories) {
      for (std::byte& each : memory.bytes()) each = static_cast<std::byte>(number++ * 167 >> 3);
    }
  }
  int fd(std::size_t index) const {
    if (index < good) return memories[index].fd();
    return index == good ? hole.get() : unsealed.get();
  }
};

const segments& shared_segments() {
  static const segments made;
  return made;
}

unsigned sum_of(const body& content) {
  unsigned sum = 0;
  for (const std::byte each : content.bytes()) sum += std::to_integer<unsigned>(each);
  return sum;
}

struct kept_body {
  body content;
  unsigned sum;  // as it was when it was handed out
  void still_reads() const { FERRY_CHECK(sum_of(content) == sum); }
};

class stage {
 public:
  explicit stage(session_role role)
      : peer_(role == session_role::host ? plays::worker : plays::host, ring_bytes, 16) {
    FERRY_CHECK(peer_.send_hello());
    // The cheapest kind of loop to make, for each run makes one.
    auto loop = loop_core::create(reactor_kind::epoll);
    FERRY_CHECK(loop);
    auto open = session::open(peer_.victims_end(), role, options_of_victim(), std::move(*loop));
    FERRY_CHECK(open);
    victim_ = std::move(*open);
    FERRY_CHECK(peer_.take_hello());
  }

  void peer_step(fuzz_input& input);
  void victim_step(fuzz_input& input);
  void end();

 private:
  raw_record small_record(fuzz_input& input);
  raw_record any_record(fuzz_input& input);
  void send_packet(fuzz_input& input);
  void send_segment(fuzz_input& input);
  void poke(fuzz_input& input);
  void read_records(std::size_t limit);
  bool lies_in_ring(std::span<const std::byte> content);
  void take(const record_fields& fields, body&& content);
  void send(std::uint64_t size_bytes, bool in_place);
  void look_at_end();
  void see_what_was_lent();

  hostile_peer peer_;
  std::unique_ptr<session> victim_;
  std::vector<kept_body> kept_;
  std::vector<std::pair<std::uint32_t, std::size_t>> sent_segments_;  // id, which memory
  std::vector<std::uint32_t> lent_;                                   // ids that the peer knows of
  std::optional<call_error> ended_;
};

// --- the peer -----------------------------------------------------------------------------------

// Fields near those that make sense.
raw_record stage::small_record(fuzz_input& input) {
  raw_record record;
  record.kind = static_cast<std::uint8_t>(a_call + input.below(14));  // the last is of no kind
  record.call = input.take<std::uint8_t>();
  record.body_segment = input.below(4);
  if (record.body_segment != 0) {
    record.body_id = input.take<std::uint8_t>();
    record.body_offset = input.take<std::uint16_t>();
    record.body_size = input.take<std::uint16_t>();
  }
  return record;
}

raw_record stage::any_record(fuzz_input& input) {
  raw_record record;
  const auto raw = input.bytes(sizeof record - sizeof record.ready);
  if (!raw.empty()) {
    std::memcpy(reinterpret_cast<std::byte*>(&record) + sizeof record.ready, raw.data(),
                raw.size());
  }
  return record;
}

void stage::send_packet(fuzz_input& input) {
  std::array<int, 3> fds;
  fds.fill(shared_segments().fd(0));
  const std::size_t count = input.below(4);
  const std::size_t length = input.take<std::uint16_t>() % (max_packet_bytes + 16);
  const auto bytes = input.bytes(length);
  (void)peer_.send(bytes, std::span(fds).first(count));
}

void stage::send_segment(fuzz_input& input) {
  const std::uint32_t id = input.below(4);
  const std::size_t which = input.below(8) % (segments::good + 2);
  raw_segment packet;
  packet.id = id;
  packet.segment_bytes = which < segments::good ? shared_segments().memories[which].bytes().size()
                                                : std::uint64_t{4096};
  if (input.below(16) == 1) packet.segment_bytes = input.take<std::uint64_t>();
  const int fd = shared_segments().fd(which);
  if (peer_.send(packet, {&fd, 1}) && which < segments::good) {
    sent_segments_.emplace_back(id, which);
  }
}

void stage::poke(fuzz_input& input) {
  static constexpr std::array<std::size_t, 3> words = {records_read_at, returns_taken_at,
                                                       asleep_at};
  const std::size_t word = words[input.below(words.size())];
  switch (input.below(4)) {
    case 0: return peer_.poke<std::uint64_t>(word, input.take<std::uint64_t>());
    case 1: return peer_.poke<std::uint64_t>(word, input.take<std::uint8_t>());
    case 2: return peer_.poke<std::uint64_t>(word, peer_.read_position() + input.below(128));
    default:
      return peer_.poke<std::uint32_t>(input.flag() ? cpu_at : bell_at,
                                       input.take<std::uint32_t>());
  }
}

// The peer reads the victim's records to learn what was lent to it.
void stage::see_what_was_lent() {
  for (int most = 0; most < 64; ++most) {
    const auto record = peer_.next_record();
    if (!record) return;
    if (record->body_segment != 0) lent_.push_back(record->body_id);
  }
}

void stage::peer_step(fuzz_input& input) {
  switch (input.below(14)) {
    case 0:
    case 1: {
      raw_record record = small_record(input);
      const auto text = input.text(record.body_segment == 0 ? input.take<std::uint8_t>() : 0);
      record.inline_size = static_cast<std::uint32_t>(text.size());
      // Before the end a pad, as an honest producer puts it.
      const std::uint64_t to_end = ring_bytes - (peer_.next_position() & (ring_bytes - 1));
      if (to_end < sizeof record + text.size()) {
        raw_record pad;
        pad.kind = a_pad;
        pad.inline_size = static_cast<std::uint32_t>(to_end - sizeof pad);
        peer_.put(pad);
        peer_.skip_to(peer_.next_position() - sizeof pad + to_end);
      }
      peer_.put(record, text);
      return;
    }
    case 2: {
      const raw_record record = any_record(input);
      peer_.put(record);
      return;
    }
    case 3: {
      const std::uint64_t ahead = 64 * std::uint64_t{input.take<std::uint8_t>()};
      return peer_.put_at(peer_.next_position() + ahead, any_record(input));
    }
    case 4: {
      const std::size_t offset = input.take<std::uint16_t>() % ring_bytes;
      const auto bytes =
          input.bytes(std::min<std::size_t>(input.take<std::uint8_t>(), ring_bytes - offset));
      if (!bytes.empty()) std::memcpy(peer_.ring().data() + offset, bytes.data(), bytes.size());
      return;
    }
    case 5: return peer_.skip_to(64 * std::uint64_t{input.take<std::uint16_t>()});
    case 6: return send_packet(input);
    case 7: return send_segment(input);
    case 8: return poke(input);
    case 9: {
      see_what_was_lent();
      const std::size_t index = input.take<std::uint8_t>();
      if (!lent_.empty()) peer_.give_back(lent_[index % lent_.size()]);
      return;
    }
    case 10: return peer_.give_back(input.take<std::uint32_t>());
    case 11: return peer_.free_what_was_read();
    case 12: {
      const auto kind = static_cast<std::uint32_t>(4 + input.below(2));  // wakeup, bye
      (void)peer_.send(raw_header{.kind = kind});
      return;
    }
    default:
      if (input.below(8) == 1) return peer_.hang_up();
      (void)peer_.receive(std::chrono::milliseconds(0));
      return;
  }
}

// --- the session --------------------------------------------------------------------------------

// An inline body follows its header, so it begins a line; all of it lies in the ring.
bool stage::lies_in_ring(std::span<const std::byte> content) {
  const std::span<const std::byte> ring = peer_.ring();
  for (std::size_t at = sizeof(raw_record); at + content.size() <= ring.size(); at += 64) {
    if (same_bytes(ring.subspan(at, content.size()), content)) return true;
  }
  return false;
}

void stage::take(const record_fields& fields, body&& content) {
  FERRY_CHECK(fields.kind != record_kind::pad && fields.kind != record_kind::retire);
  const unsigned sum = sum_of(content);  // to its end
  if (fields.body_segment == 0) {
    FERRY_CHECK(!content.borrowed());
    FERRY_CHECK(content.size() == fields.inline_size);
    FERRY_CHECK(content.size() <= max_inline_bytes(ring_bytes));
    FERRY_CHECK(lies_in_ring(content.bytes()));
  } else {
    FERRY_CHECK(content.borrowed());
    FERRY_CHECK(content.size() == fields.body_size);
    FERRY_CHECK(std::ranges::any_of(sent_segments_, [&](const auto& sent) {
      const auto memory =
          std::span<const std::byte>(shared_segments().memories[sent.second].bytes());
      return sent.first == fields.body_segment && fields.body_offset <= memory.size() &&
             fields.body_size <= memory.size() - fields.body_offset &&
             same_bytes(memory.subspan(fields.body_offset, fields.body_size), content.bytes());
    }));
  }
  if (kept_.size() < most_kept) kept_.push_back({std::move(content), sum});
}

void stage::read_records(std::size_t limit) {
  std::size_t handed_out = 0;
  const std::size_t count = victim_->poll(
      [&](const record_fields& fields, body&& content) {
        ++handed_out;
        take(fields, std::move(content));
      },
      limit);
  FERRY_CHECK(count == handed_out && count <= limit);
}

void is_expected_failure(errc code) {
  FERRY_CHECK(code == errc::full || code == errc::no_memory || code == errc::limit ||
              code == errc::corrupt || code == errc::closed || code == errc::unavailable);
}

void stage::send(std::uint64_t size_bytes, bool in_place) {
  record_fields fields;
  fields.kind = record_kind::call;
  result<void> sent;
  if (in_place) {
    auto loan = victim_->core().borrow(size_bytes);
    if (!loan) return is_expected_failure(loan.error().code);
    FERRY_CHECK(loan->size() == size_bytes);
    if (size_bytes != 0) loan->bytes()[size_bytes - 1] = std::byte{1};
    sent = victim_->core().send(fields, *loan);
  } else {
    const std::vector<std::byte> bytes(size_bytes, std::byte{7});
    sent = victim_->core().send(fields, bytes);
  }
  if (!sent) is_expected_failure(sent.error().code);
}

void stage::victim_step(fuzz_input& input) {
  switch (input.below(8)) {
    case 0:
    case 1: read_records(1 + input.below(16)); break;
    case 2: victim_->serve_socket(); break;
    case 3: send(input.below(255), input.flag()); break;
    case 4: send(input.take<std::uint16_t>(), input.flag()); break;
    case 5:
      if (!kept_.empty()) {
        const auto at = kept_.begin() + input.below(static_cast<unsigned>(kept_.size()));
        at->still_reads();
        kept_.erase(at);
      }
      break;
    case 6:
      (void)victim_->core().collect_returns();
      if (input.flag()) (void)victim_->core().trim(true);
      break;
    default:
      victim_->arm();
      victim_->disarm();
      break;
  }
  look_at_end();
}

void stage::look_at_end() {
  if (!victim_->core().over()) {
    FERRY_CHECK(!ended_);
    return;
  }
  const call_error why = victim_->core().failure();
  FERRY_CHECK(!why.text.empty());
  if (!ended_) {
    FERRY_CHECK(why.code == errc::corrupt || why.code == errc::unavailable ||
                why.code == errc::closed || why.code == errc::refused ||
                why.code == errc::version_mismatch);
    ended_ = why;
  }
  FERRY_CHECK(why.code == ended_->code && why.text == ended_->text);
}

void stage::end() {
  read_records(256);
  look_at_end();
  for (const kept_body& each : kept_) each.still_reads();
  const std::shared_ptr<session_core> core = victim_->shared_core();
  victim_.reset();
  FERRY_CHECK(core->over());
  FERRY_CHECK(core->lent().outstanding() == 0);
  for (const kept_body& each : kept_) each.still_reads();
  kept_.clear();
}

void run(fuzz_input input) {
  stage stage(input.flag() ? session_role::worker : session_role::host);
  for (std::size_t steps = 0; steps < most_steps && !input.empty(); ++steps) {
    input.below(3) == 2 ? stage.victim_step(input) : stage.peer_step(input);
  }
  stage.end();
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  static ferry::leak_watch watch;
  ferry::run(ferry::fuzz_input(data, size_bytes));
  watch.after_run();
  return 0;
}
