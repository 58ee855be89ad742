// Decodes    a record ring that a hostile producer writes, by record_consumer.
// Input      one byte: the ring's size; eight: where its positions start. Then operations: put
//            bytes anywhere; put a header with the right ready word where the consumer stands, or
//            a record that an honest producer could have put there; read.
// Property   a record is handed over only from where the consumer stands, or from the start of the
//            next lap when a pad lies between; it and its body lie within the ring; the position
//            moves by exactly what was read; a ring found corrupt stays so, and moves no more.
#include <vector>

#include "ring/record_ring.h"
#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

constexpr std::uint64_t key = 0x9e37'79b9'7f4a'7c15;
constexpr std::uint64_t head_bytes = sizeof(shared_record<std_atomics>);

class stage {
 public:
  stage(std::size_t capacity_bytes, std::uint64_t start)
      : lines_(capacity_bytes / sizeof(line)),
        consumed_{start},
        consumer_(bytes(), consumed_, key, start),
        position_(start) {}

  void put_bytes(std::size_t offset, std::span<const std::byte> from) {
    const auto to = bytes().subspan(offset % bytes().size());
    const auto some = from.first(std::min(from.size(), to.size()));
    if (!some.empty()) std::memcpy(to.data(), some.data(), some.size());
  }

  // `ahead`: bytes past the consumer, a multiple of 64.
  void put_header(std::uint64_t ahead, const record_fields& fields) {
    const std::uint64_t position = position_ + ahead;
    auto* at = reinterpret_cast<shared_record<std_atomics>*>(bytes().data() + offset_of(position));
    at->fields = fields;
    at->ready.store(ready_word(position, key), std::memory_order_release);
  }

  // As record_producer would: with a pad first where the record does not fit before the end.
  void put_record(record_fields fields, std::span<const std::byte> body) {
    const auto some = body.first(
        std::min<std::size_t>(body.size(), static_cast<std::size_t>(max_inline_bytes(capacity()))));
    std::uint64_t ahead = 0;
    if (const std::uint64_t to_end = capacity() - offset_of(position_);
        record_bytes(some.size()) > to_end) {
      record_fields filler;
      filler.inline_size = static_cast<std::uint32_t>(to_end - head_bytes);
      put_header(0, filler);
      ahead = to_end;
    }
    put_bytes(offset_of(position_ + ahead) + head_bytes, some);
    fields.inline_size = static_cast<std::uint32_t>(some.size());
    if (fields.kind == record_kind::pad) fields.kind = record_kind::call;
    put_header(ahead, fields);
  }

  void pop() {
    std::uint64_t read_bytes = 0;
    std::uint64_t begin = 0;
    const bool was_ready = consumer_.ready();
    const auto popped =
        consumer_.try_pop([&](const record_fields& fields, std::span<const std::byte> body) {
          FERRY_CHECK(fields.kind != record_kind::pad);
          FERRY_CHECK(body.size() == fields.inline_size);
          FERRY_CHECK(body.size() <= max_inline_bytes(capacity()));
          begin = static_cast<std::uint64_t>(body.data() - bytes().data()) - head_bytes;
          read_bytes = record_bytes(body.size());
          FERRY_CHECK(begin % cache_line_bytes == 0);
          FERRY_CHECK(begin + read_bytes <= capacity());
          std::byte sum{};
          for (const std::byte each : body) sum ^= each;
          seen_ = sum;
          // What was handed over is a copy: the peer may write the header again meanwhile.
          put_bytes(begin, std::vector<std::byte>(head_bytes, std::byte{0xff}));
          FERRY_CHECK(body.size() == fields.inline_size);
        });
    const bool owes = consumer_.owes_room();
    const bool gave = consumer_.give_back();
    const std::uint64_t moved = consumed_.position.load() - position_;
    const std::uint64_t to_end = capacity() - offset_of(position_);
    FERRY_CHECK(owes == (moved >= capacity() / 8));
    FERRY_CHECK(gave == (moved != 0));
    FERRY_CHECK(!consumer_.give_back());
    if (popped) {
      FERRY_CHECK(was_ready && !corrupt_);
      FERRY_CHECK(begin == offset_of(position_) ? moved == read_bytes
                                                : begin == 0 && moved == to_end + read_bytes);
    } else {
      FERRY_CHECK(popped.error().code == errc::empty || popped.error().code == errc::corrupt);
      FERRY_CHECK(moved == 0 || (moved == to_end && to_end != capacity() && !corrupt_));
      if (popped.error().code == errc::corrupt) FERRY_CHECK(was_ready || corrupt_);
      if (corrupt_) FERRY_CHECK(popped.error().code == errc::corrupt);
      corrupt_ = popped.error().code == errc::corrupt;
    }
    position_ += moved;
  }

 private:
  struct alignas(cache_line_bytes) line {
    std::byte bytes[cache_line_bytes];
  };
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(lines_)); }
  std::uint64_t capacity() const { return lines_.size() * sizeof(line); }
  std::uint64_t offset_of(std::uint64_t position) const { return position & (capacity() - 1); }

  std::vector<line> lines_;
  cursor<std_atomics> consumed_;
  record_consumer<> consumer_;
  std::uint64_t position_;  // where the consumer stands
  bool corrupt_ = false;
  volatile std::byte seen_{};
};

record_fields take_fields(fuzz_input& input) {
  record_fields fields;
  const auto raw = input.bytes(sizeof fields);
  if (!raw.empty()) std::memcpy(static_cast<void*>(&fields), raw.data(), raw.size());
  return fields;
}

void run(fuzz_input input) {
  const std::size_t capacity_bytes = std::size_t{1024} << input.below(4);
  stage ring(capacity_bytes, input.take<std::uint64_t>() & ~std::uint64_t{cache_line_bytes - 1});
  while (!input.empty()) {
    switch (input.below(6)) {
      case 0: {
        const std::size_t offset = input.take<std::uint16_t>();
        const std::size_t length = input.take<std::uint8_t>();
        ring.put_bytes(offset, input.bytes(length));
        break;
      }
      case 1: ring.put_header(0, take_fields(input)); break;
      case 2: {
        const std::uint64_t ahead = cache_line_bytes * std::uint64_t{input.take<std::uint8_t>()};
        ring.put_header(ahead, take_fields(input));
        break;
      }
      case 3: {
        record_fields fields;
        fields.kind = static_cast<record_kind>(input.take<std::uint8_t>());
        const std::size_t length = input.take<std::uint16_t>();
        ring.put_record(fields, input.bytes(length));
        break;
      }
      case 4: {  // a header of which only what the ring looks at is chosen
        record_fields fields;
        fields.kind = static_cast<record_kind>(input.below(8));
        fields.inline_size = input.take<std::uint16_t>();
        ring.put_header(0, fields);
        break;
      }
      default: ring.pop(); break;
    }
  }
  ring.pop();
  ring.pop();
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(ferry::fuzz_input(data, size_bytes));
  return 0;
}
