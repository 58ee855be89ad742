// Writes the seeds that are made on purpose: what our own encoders give, and rings at their edges.
// The others were grown by libFuzzer: see tests/fuzz/README.md.
// Usage     fuzz-seeds CORPUS_FOLDER
// Exit      0 written; 1 a file could not be written; 2 wrong usage.
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "engine/codec/typed.h"
#include "engine/session/hello.h"
#include "shm/socket.h"
#include "tests/fuzz/seed_writer.h"

namespace ferry {
namespace {

using bytes = std::vector<std::byte>;

bytes copy_of(std::span<const std::byte> from) { return {from.begin(), from.end()}; }

// --- values -------------------------------------------------------------------------------------

void write_values(seed_writer& to) {
  const auto seed = [&](const std::string& name, auto&& fill) {
    value_writer writer;
    fill(writer);
    to.write("value_reader", name, copy_of(writer.bytes()));
  };
  seed("scalars", [](value_writer& writer) {
    writer.nil();
    writer.boolean(true);
    for (const std::int64_t value : {0l, 127l, 128l, 65536l, -1l, -33l, -32769l}) {
      writer.integer(value);
    }
    writer.integer(std::numeric_limits<std::int64_t>::min());
    writer.unsigned_integer(std::numeric_limits<std::uint64_t>::max());
    writer.real(-0.0);
    writer.real32(1.5f);
  });
  seed("texts", [](value_writer& writer) {
    for (const std::size_t length : {0u, 31u, 32u, 256u}) {
      writer.string(std::string(length, 's'));
      writer.binary(bytes(length, std::byte{0xc1}));
    }
  });
  seed("containers", [](value_writer& writer) {
    writer.array(16);
    for (std::uint32_t i = 0; i < 16; ++i) {
      writer.map(1);
      writer.integer(i);
      writer.array(0);
    }
  });
  for (const std::size_t depth : {max_value_depth, max_value_depth + 1}) {
    seed("nested-" + std::to_string(depth), [&](value_writer& writer) {
      for (std::size_t i = 0; i < depth; ++i) writer.array(1);
      writer.nil();
    });
  }
}

// --- types and arguments ------------------------------------------------------------------------

// Structs travel as arrays of their fields, so tuples stand for them here.
using point = std::pair<int, int>;

void write_typed(seed_writer& to) {
  std::uint8_t type = 0;  // counts as the table in typed_fuzz.cc does
  const auto seed = [&](const std::string& name, auto&& fill) {
    value_writer writer;
    writer.raw(std::as_bytes(std::span(&type, 1)));
    fill(writer);
    to.write("typed", name, copy_of(writer.bytes()));
    ++type;
  };
  const bytes some(5, std::byte{0xab});
  seed("shape", [](value_writer& writer) {
    encode(writer, std::tuple(std::string("square"), std::optional(2),
                              std::vector<point>{{0, 0}, {0, -9}, {300, 70000}},
                              std::map<std::string, double>{{"area", 2.25}, {"side", 1.5}}));
  });
  seed("tree", [](value_writer& writer) {
    for (int depth = 0; depth < 5; ++depth) {
      writer.array(2);
      writer.integer(depth * 1000);
      writer.array(1);
    }
    writer.array(2);
    writer.integer(-5);
    writer.array(0);
  });
  seed("numbers", [](value_writer& writer) {
    encode(writer, std::tuple(true, -128, 65535, -70000, ~0ull, 0.5f, 1e300, std::array{1, 2, 3}));
  });
  seed("deep-map", [&](value_writer& writer) {
    encode(writer, std::map<int, std::map<std::string, std::vector<std::optional<bytes>>>>{
                       {-1, {{"a", {some, std::nullopt}}, {"b", {}}}}, {7, {}}});
  });
  seed("hashed", [](value_writer& writer) {
    encode(writer, std::map<std::string, std::pair<unsigned, std::optional<bool>>>{
                       {"one", {1, true}}, {"two", {2, std::nullopt}}});
  });
  seed("enum-map", [](value_writer& writer) {
    const std::array four = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    encode(writer, std::map<int, std::array<std::byte, 4>>{{1, four}, {2, four}});
  });
  seed("views", [&](value_writer& writer) {
    encode(writer, std::vector<std::pair<std::string, bytes>>{{"x", some}, {"", {}}});
  });
  seed("reals", [](value_writer& writer) { encode(writer, std::vector{1.5f, -0.0f, 3e38f}); });
  seed("some-arguments", [](value_writer& writer) {
    encode_args(writer, "name", -7, std::optional(point{1, 2}));
  });
  seed("view-arguments", [](value_writer& writer) {
    encode_args(writer, "view", std::vector{1.25, 2.0}, true);
  });
  seed("no-arguments", [](value_writer& writer) { encode_args(writer); });
}

// --- hellos -------------------------------------------------------------------------------------

// Input of hello_fuzz.cc: flags, the packet's length, the packet, the begin of the segment.
bytes hello_input(std::uint8_t flags, const bytes& packet, const bytes& segment) {
  bytes input = {static_cast<std::byte>(flags), static_cast<std::byte>(packet.size() & 0xff),
                 static_cast<std::byte>(packet.size() >> 8)};
  input.insert(input.end(), packet.begin(), packet.end());
  input.insert(input.end(), segment.begin(), segment.end());
  return input;
}

// What one side says to a peer that never answers, and how its control segment begins.
std::pair<bytes, bytes> hello_of(session_role role, std::uint64_t ring_bytes, unsigned cells) {
  auto ends = socket_pair();
  FERRY_CHECK(ends);
  session_options options;
  options.ring_bytes = ring_bytes;
  options.returns_cells = cells;
  options.inline_limit = 512;
  options.hello_timeout = std::chrono::nanoseconds(0);
  FERRY_CHECK(!exchange_hello(ends->first, role, options));
  bytes packet(max_packet_bytes), segment(offsetof(control_block, records_read));
  const auto got = receive_packet(ends->second.get(), packet);
  FERRY_CHECK(got && got->fd_count == 1);
  packet.resize(got->size_bytes);
  const auto read = ::pread(got->fds[0].get(), segment.data(), segment.size(), 0);
  FERRY_CHECK(read == static_cast<ssize_t>(segment.size()));
  return {packet, segment};
}

void write_hellos(seed_writer& to) {
  constexpr std::uint8_t we_are_worker = 0, we_are_host = 1;
  const auto [host, host_segment] = hello_of(session_role::host, 4096, 16);
  const auto [worker, worker_segment] = hello_of(session_role::worker, 65536, 4096);
  to.write("hello", "host", hello_input(we_are_worker, host, host_segment));
  to.write("hello", "worker", hello_input(we_are_host, worker, worker_segment));
  to.write("hello", "same-role", hello_input(we_are_host, host, host_segment));
  to.write("hello", "wrong-segment", hello_input(we_are_worker, host, worker_segment));
  to.write("hello", "longer-segment", hello_input(we_are_worker | 1 << 1, host, host_segment));
  to.write("hello", "hole", hello_input(we_are_worker | 2 << 1, host, host_segment));
  to.write("hello", "unsealed", hello_input(we_are_worker | 3 << 1, host, host_segment));
  to.write("hello", "no-descriptor", hello_input(we_are_worker | 1 << 3, host, host_segment));

  const std::string_view why = "no \x01 thanks";
  reject_packet refusal{};
  refusal.header = {packet_kind::reject, static_cast<std::uint32_t>(sizeof refusal + why.size())};
  refusal.code = static_cast<std::uint32_t>(errc::version_mismatch);
  bytes packet = copy_of(std::as_bytes(std::span(&refusal, 1)));
  for (const char each : why) packet.push_back(static_cast<std::byte>(each));
  to.write("hello", "reject-of-another-version", hello_input(we_are_host | 1 << 3, packet, {}));
}

// --- rings --------------------------------------------------------------------------------------

class operations {  // bytes of an input, in the order in which its target takes them
 public:
  template <class T>
  operations& add(const T& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
    return *this;
  }
  operations& byte(unsigned value) { return add(static_cast<std::uint8_t>(value)); }
  const bytes& taken() const { return bytes_; }

 private:
  bytes bytes_;
};

// Input of record_consumer_fuzz.cc: a ring of 1024 bytes, its first position, then operations.
void write_record_rings(seed_writer& to) {
  constexpr unsigned put_record = 3, put_small_header = 4, pop = 5;
  constexpr auto call = static_cast<unsigned>(record_kind::call);
  constexpr auto pad = static_cast<unsigned>(record_kind::pad);
  const auto ring_at = [](std::uint64_t start) { return operations().byte(0).add(start); };
  const auto header = [&](operations ring, unsigned kind, std::uint16_t inline_size) {
    return ring.byte(put_small_header).byte(kind).add(inline_size).byte(pop).taken();
  };
  to.write("record_consumer", "one-line-past-the-end", header(ring_at(960), call, 64));
  to.write("record_consumer", "up-to-the-end", header(ring_at(896), call, 64));
  to.write("record_consumer", "largest", header(ring_at(0), call, 192));
  to.write("record_consumer", "larger-than-the-largest", header(ring_at(0), call, 193));
  to.write("record_consumer", "pad-of-a-whole-lap", header(ring_at(0), pad, 960));
  to.write("record_consumer", "pad-too-short", header(ring_at(512), pad, 384));
  operations laps = ring_at(~std::uint64_t{0} - 2047);  // over the end of 64 bits
  for (std::uint16_t length = 30; length < 180; length += 10) {
    laps.byte(put_record).byte(call).add(length);
    for (unsigned i = 0; i < length; ++i) laps.byte(i);
    laps.byte(pop);
  }
  to.write("record_consumer", "laps", laps.taken());
}

// Input of session_fuzz.cc: the side, then for each step who acts and how.
void write_sessions(seed_writer& to) {
  constexpr unsigned peer_puts = 0, peer_puts_raw = 2, victim_reads = 0;
  const auto lap = [&](std::uint32_t inline_size_of_last) {
    operations steps = operations().byte(1);
    for (int records = 0; records < 63; ++records) {
      steps.byte(0).byte(peer_puts).byte(0).byte(7).byte(0).byte(0);  // a call, inline, no bytes
      if (records % 16 == 15) steps.byte(2).byte(victim_reads).byte(15);
    }
    record_fields last;
    last.kind = record_kind::call;
    last.inline_size = inline_size_of_last;
    return steps.byte(0).byte(peer_puts_raw).add(last).byte(2).byte(victim_reads).byte(15).taken();
  };
  to.write("session", "one-line-past-the-end", lap(64));
  to.write("session", "up-to-the-end", lap(0));
}

// Input of streams_fuzz.cc: which side is real, then steps.
void write_streams(seed_writer& to) {
  struct record {
    record_kind kind;
    unsigned flags = 0, function = 0, items = 0, bytes = 0;
    std::string text = {};
  };
  const auto put = [](operations& steps, unsigned call, const record& what) {
    steps.byte(0).byte(call);
    steps.byte(static_cast<unsigned>(what.kind) - 2).byte(what.flags).byte(0);
    steps.byte(what.function).byte(0).byte(1).byte(what.items);
    steps.byte(0).add(static_cast<std::uint16_t>(what.bytes));
    steps.byte(static_cast<unsigned>(what.text.size()));
    for (const char each : what.text) steps.byte(static_cast<unsigned char>(each));
  };
  constexpr unsigned turn = 9, client_turn = 11, read = 5, client_peer_reads = 4, open = 5, use = 7;
  operations numbers = operations().byte(1);
  put(numbers, 1, {record_kind::call, wants_items, 2});
  put(numbers, 1, {record_kind::credit, 0, 0, 30, 5000});
  numbers.byte(turn).byte(read).byte(turn);
  put(numbers, 1, {record_kind::cancel});
  to.write("streams", "worker-numbers", numbers.byte(turn).byte(turn).taken());
  operations sum = operations().byte(1);
  put(sum, 2, {record_kind::call, sends_items, 3});
  for (int i = 0; i < 20; ++i) put(sum, 2, {record_kind::item, 0, 0, 0, 0, "\x05"});
  put(sum, 2, {record_kind::end});
  to.write("streams", "worker-sum", sum.byte(turn).byte(turn).byte(read).taken());
  operations mirror = operations().byte(1);
  put(mirror, 3, {record_kind::call, sends_items | wants_items, 4});
  put(mirror, 3, {record_kind::credit, 0, 0, 3, 100});
  for (int i = 0; i < 6; ++i) put(mirror, 3, {record_kind::item, 0, 0, 0, 0, "text"});
  mirror.byte(turn).byte(read);
  put(mirror, 3, {record_kind::call, sends_items | wants_items, 4});  // again
  to.write("streams", "worker-mirror-twice", mirror.byte(turn).taken());
  operations talk = operations().byte(0).byte(open).byte(2).byte(client_peer_reads);
  for (int i = 0; i < 5; ++i) {
    put(talk, 0, {record_kind::item, 0, 0, 0, 0, "item"});
    talk.byte(client_turn).byte(use).byte(0).byte(3).byte(1);
  }
  put(talk, 0, {record_kind::item, is_error, 0, 0, 0, "bad"});
  put(talk, 0, {record_kind::end});
  to.write("streams", "client-talk", talk.byte(client_turn).byte(use).byte(0).byte(4).taken());
}

}  // namespace
}  // namespace ferry

int main(int argument_count, char** arguments) {
  if (argument_count != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", arguments[0]);
    return 2;
  }
  ferry::seed_writer seeds(arguments[1]);
  ferry::write_values(seeds);
  ferry::write_typed(seeds);
  ferry::write_hellos(seeds);
  ferry::write_record_rings(seeds);
  ferry::write_sessions(seeds);
  ferry::write_streams(seeds);
  ferry::write_channels(seeds);
  return seeds.good() ? 0 : 1;
}
