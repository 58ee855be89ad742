#include "engine/channel/wire.h"

#include <bit>
#include <cstring>

namespace ferry {
namespace {

static_assert(std::endian::native == std::endian::little);

// What a head may hold; others are skipped, so that later versions can add some.
enum class tag : std::uint8_t {
  function = 1,
  text = 2,
  stack_trace = 3,
  metadata_key = 4,
  metadata_value = 5,  // of the key before it
  timeout_ms = 6,      // of an answer, whose time_ms is the time taken
};
constexpr std::size_t part_header = 5;

bool answer_times_out(const message& what) noexcept {
  return what.kind == message_kind::execution_response && what.timeout_ms != 0;
}

std::size_t part(std::string_view text) noexcept {
  return text.empty() ? 0 : part_header + text.size();
}

class head_writer {
 public:
  explicit head_writer(std::span<std::byte> into) : at_(into.data()) {}
  void put(tag what, const void* bytes, std::size_t size) {
    *at_ = static_cast<std::byte>(what);
    const auto size32 = static_cast<std::uint32_t>(size);
    std::memcpy(at_ + 1, &size32, sizeof size32);
    if (size != 0) std::memcpy(at_ + part_header, bytes, size);
    at_ += part_header + size;
  }
  void put(tag what, std::string_view text) {
    if (!text.empty()) put(what, text.data(), text.size());
  }

 private:
  std::byte* at_;
};

// Where each field lies in the header.
template <class Fields, class Visit>
void each_field(Fields& fields, Visit visit) {
  visit(offsetof(frame_header, kind), fields.kind);
  visit(offsetof(frame_header, flags), fields.flags);
  visit(offsetof(frame_header, status), fields.status);
  visit(offsetof(frame_header, request_id), fields.request_id);
  visit(offsetof(frame_header, time_ms), fields.time_ms);
  visit(offsetof(frame_header, data_size), fields.data_size);
  visit(offsetof(frame_header, head_size), fields.head_size);
  visit(offsetof(frame_header, code), fields.code);
}

bool is_known(std::uint8_t kind) noexcept {
  return (kind >= 1 && kind <= static_cast<std::uint8_t>(message_kind::error)) ||
         (kind >= static_cast<std::uint8_t>(frame_kind::hello) &&
          kind <= static_cast<std::uint8_t>(frame_kind::bye));
}

result<void> check(const frame_fields& fields, std::uint64_t max_bytes) {
  if (!is_known(fields.kind)) return error{errc::corrupt, 0, "a frame of an unknown kind"};
  if (fields.head_size > max_head_bytes) {
    return error{errc::corrupt, 0, "a frame's head over the limit", fields.head_size,
                 max_head_bytes};
  }
  if (fields.data_size > max_bytes || fields.head_size > max_bytes - fields.data_size) {
    return error{errc::frame_too_large, 0, "a frame over the limit", fields.data_size, max_bytes};
  }
  return {};
}

}  // namespace

void write_header(const frame_fields& fields, std::byte* into) noexcept {
  const auto put = [into](std::size_t at, auto value) {
    std::memcpy(into + at, &value, sizeof value);
  };
  put(offsetof(frame_header, magic), frame_magic);
  put(offsetof(frame_header, version), frame_version);
  each_field(fields, put);
  std::memset(into + offsetof(frame_header, zero), 0, sizeof frame_header::zero);
}

frame_header header_of(const frame_fields& fields) noexcept {
  frame_header header;
  write_header(fields, reinterpret_cast<std::byte*>(&header));
  return header;
}

result<void> read_header(std::span<const std::byte> bytes, std::uint64_t max_bytes,
                         frame_fields& into) {
  const auto get = [bytes](std::size_t at, auto& value) {
    std::memcpy(&value, bytes.data() + at, sizeof value);
  };
  std::uint32_t magic = 0;
  std::uint8_t version = 0;
  get(offsetof(frame_header, magic), magic);
  get(offsetof(frame_header, version), version);
  if (magic != frame_magic) return error{errc::corrupt, 0, "not a frame: a wrong magic"};
  if (version != frame_version) {
    return error{errc::version_mismatch, 0, "a frame of another version", version, frame_version};
  }
  each_field(into, get);
  return check(into, max_bytes);
}

result<frame_fields> read_header(std::span<const std::byte> bytes, std::uint64_t max_bytes) {
  frame_fields fields;
  if (auto good = read_header(bytes, max_bytes, fields); !good) return good.error();
  return fields;
}

record_fields record_of(const frame_fields& fields) noexcept {
  record_fields record;
  record.kind = record_kind::message;
  record.call = fields.request_id;
  record.deadline_ns = fields.time_ms;
  record.function = fields.head_size;
  record.spare = fields.code;
  record.flags = fields.flags;
  record.code = static_cast<std::uint16_t>(fields.kind | fields.status << 8);
  return record;
}

result<frame_fields> read_record(const record_fields& record, std::uint64_t body_bytes,
                                 std::uint64_t max_bytes) {
  if (record.function > body_bytes) {
    return error{errc::corrupt, 0, "a head longer than its record", record.function, body_bytes};
  }
  const frame_fields fields{static_cast<std::uint8_t>(record.code & 0xff),
                            record.flags,
                            static_cast<std::uint8_t>(record.code >> 8),
                            record.spare,
                            record.call,
                            record.deadline_ns,
                            record.function,
                            body_bytes - record.function};
  if (auto good = check(fields, max_bytes); !good) return good.error();
  return fields;
}

frame_fields fields_of(const message& what) noexcept {
  frame_fields fields;
  fields.kind = static_cast<std::uint8_t>(what.kind);
  fields.code = what.code;
  fields.request_id = what.request_id;
  const bool answers = what.kind == message_kind::execution_response;
  fields.status = what.kind == message_kind::health_response
                      ? static_cast<std::uint8_t>(what.status)
                      : static_cast<std::uint8_t>(what.outcome);
  fields.flags = what.graceful ? frame_graceful : 0;
  fields.time_ms = answers ? what.elapsed_ms : what.timeout_ms;
  std::size_t head = part(what.function) + part(what.text) + part(what.stack_trace);
  for (const auto& [key, value] : what.metadata)
    head += 2 * part_header + key.size() + value.size();
  if (answer_times_out(what)) head += part_header + sizeof(std::uint64_t);
  // What does not fit 32 bits is over any limit all the more.
  fields.head_size = static_cast<std::uint32_t>(std::min<std::size_t>(head, UINT32_MAX));
  fields.data_size = what.data.size();
  return fields;
}

void write_head(const message& what, std::span<std::byte> into) noexcept {
  if (into.empty()) return;
  head_writer head(into);
  head.put(tag::function, what.function);
  head.put(tag::text, what.text);
  head.put(tag::stack_trace, what.stack_trace);
  for (const auto& [key, value] : what.metadata) {
    head.put(tag::metadata_key, key.data(), key.size());
    head.put(tag::metadata_value, value.data(), value.size());
  }
  if (answer_times_out(what)) {
    head.put(tag::timeout_ms, &what.timeout_ms, sizeof what.timeout_ms);
  }
}

result<void> read_message(const frame_fields& fields, std::span<const std::byte> head,
                          message& into) {
  into.kind = static_cast<message_kind>(fields.kind);
  into.code = fields.code;
  into.request_id = fields.request_id;
  into.graceful = (fields.flags & frame_graceful) != 0;
  if (into.kind == message_kind::health_response) {
    into.status = static_cast<health_status>(fields.status);
  } else if (into.kind == message_kind::execution_response) {
    if (fields.status > static_cast<std::uint8_t>(execution_outcome::timeout)) {
      return error{errc::corrupt, 0, "an outcome that does not exist"};
    }
    into.outcome = static_cast<execution_outcome>(fields.status);
  }
  (into.kind == message_kind::execution_response ? into.elapsed_ms : into.timeout_ms) =
      fields.time_ms;
  while (!head.empty()) {
    if (head.size() < part_header) return error{errc::corrupt, 0, "a head that is cut short"};
    std::uint32_t size = 0;
    std::memcpy(&size, head.data() + 1, sizeof size);
    if (size > head.size() - part_header) {
      return error{errc::corrupt, 0, "a head whose part reaches past its end"};
    }
    const auto bytes = head.subspan(part_header, size);
    const std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    switch (static_cast<tag>(head[0])) {
      case tag::function: into.function = text; break;
      case tag::text: into.text = text; break;
      case tag::stack_trace: into.stack_trace = text; break;
      case tag::metadata_key: into.metadata.emplace_back(text, std::string_view()); break;
      case tag::metadata_value:
        if (into.metadata.empty()) return error{errc::corrupt, 0, "a metadata value without a key"};
        into.metadata.back().second = text;
        break;
      case tag::timeout_ms:
        if (size != sizeof into.timeout_ms) return error{errc::corrupt, 0, "a timeout of odd size"};
        std::memcpy(&into.timeout_ms, bytes.data(), size);
        break;
      default: break;
    }
    head = head.subspan(part_header + size);
  }
  return {};
}

}  // namespace ferry
