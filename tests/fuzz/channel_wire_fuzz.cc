// Decodes    the header of a frame, or a record's fields, and the head behind them, into a message.
// Input      one byte of flags (record or header, a small or a large limit), the 64 bytes of a
//            header, the head; a head that is shorter than the header says is refused before.
// Property   what is taken has a known kind and is within the limit; a message holds no more than
//            its head did; written again and read again it is the same.
#include "engine/channel/wire.h"

#include <vector>

#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

bool same(const message& one, const message& other) {
  return one.kind == other.kind && one.outcome == other.outcome && one.status == other.status &&
         one.graceful == other.graceful && one.code == other.code &&
         one.request_id == other.request_id && one.timeout_ms == other.timeout_ms &&
         one.elapsed_ms == other.elapsed_ms && one.function == other.function &&
         one.text == other.text && one.stack_trace == other.stack_trace &&
         one.metadata == other.metadata;
}

result<frame_fields> read_fields(bool as_record, std::span<const std::byte> bytes,
                                 std::uint64_t limit) {
  if (!as_record) return read_header(bytes, limit);
  record_fields record;
  fuzz_input from(bytes);
  record.call = from.take<std::uint64_t>();
  record.deadline_ns = from.take<std::uint64_t>();
  record.function = from.take<std::uint32_t>();
  record.spare = from.take<std::uint32_t>();
  record.code = from.take<std::uint16_t>();
  record.flags = from.take<std::uint8_t>();
  const auto body_bytes = from.take<std::uint64_t>();
  auto fields = read_record(record, body_bytes, limit);
  if (fields) FERRY_CHECK(fields->head_size + fields->data_size == body_bytes);
  return fields;
}

void run(fuzz_input input) {
  const auto flags = input.take<std::uint8_t>();
  const std::uint64_t limit = (flags & 2) != 0 ? 1 << 20 : 200;
  std::vector<std::byte> raw(sizeof(frame_header));
  std::ranges::copy(input.bytes(raw.size()), raw.begin());
  const auto fields = read_fields((flags & 1) != 0, raw, limit);
  if (!fields) {
    const errc why = fields.error().code;
    FERRY_CHECK(why == errc::corrupt || why == errc::frame_too_large ||
                why == errc::version_mismatch);
    return;
  }
  FERRY_CHECK(fields->head_size <= max_head_bytes);
  FERRY_CHECK(fields->head_size <= limit && fields->data_size <= limit - fields->head_size);
  const auto left = input.rest();
  if (fields->head_size > left.size()) return;
  const auto head = left.first(fields->head_size);
  message first;
  if (!read_message(*fields, head, first)) return;
  std::size_t held = first.function.size() + first.text.size() + first.stack_trace.size();
  for (const auto& [key, value] : first.metadata) held += key.size() + value.size();
  FERRY_CHECK(held <= head.size());
  FERRY_CHECK(first.outcome <= execution_outcome::timeout);
  if (!fields->is_message()) return;
  if (const auto health = health_of(first)) {
    FERRY_CHECK(health->status <= health_status::shutting_down);
  }
  const frame_fields again = fields_of(first);
  std::vector<std::byte> written(again.head_size);
  write_head(first, written);
  message second;
  FERRY_CHECK(read_message(again, written, second));
  FERRY_CHECK(same(first, second));
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(ferry::fuzz_input(data, size_bytes));
  return 0;
}
