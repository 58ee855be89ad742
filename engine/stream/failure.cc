#include "engine/stream/failure.h"

namespace ferry {

call_error failure_in(std::uint16_t code, std::uint8_t flags, std::span<const std::byte> body) {
  const bool begun = (flags & not_begun) == 0;
  call_error why{code == 0 ? errc::internal : static_cast<errc>(code), {}, begun, {}};
  std::string_view text(reinterpret_cast<const char*>(body.data()), body.size());
  if ((flags & has_detail) != 0) {
    value_reader reader(body);
    const auto parts = reader.array();
    const auto said =
        parts && *parts == 2 ? reader.string() : result<std::string_view>(error{errc::corrupt});
    const std::size_t begin = reader.position();
    if (!said || !reader.skip() || !reader.at_end()) {
      why.text = "a failure that does not decode";
      return why;
    }
    text = *said;
    why.detail.assign(body.begin() + static_cast<std::ptrdiff_t>(begin), body.end());
  }
  why.text.assign(text.substr(0, max_error_text));
  return why;
}

void encode_failure(value_writer& writer, std::string_view text,
                    std::span<const std::byte> detail) {
  writer.array(2);
  writer.string(text.substr(0, max_error_text));
  writer.raw(detail);
}

stream_error_kind kind_of(const call_error& why) noexcept {
  switch (why.code) {
    case errc::timeout: return stream_error_kind::timeout;
    case errc::cancelled: return stream_error_kind::cancelled;
    case errc::unavailable:
    case errc::closed:
    case errc::corrupt: return stream_error_kind::transport;
    default: return stream_error_kind::application;
  }
}

}  // namespace ferry
