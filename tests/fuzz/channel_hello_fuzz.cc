// Decodes    the first frames of a channel (hello, refusal), and the texts that name instances and
//            places: ids, host:port.
// Input      the frame's kind (1 byte), its code (4), the length of its text (2), the text; the
//            rest is its data.
// Property   a hello that is taken says exactly who comes, and with which token; any other is
//            refused in printable words. An id is read back as written, and makes a file name.
#include "engine/channel/addresses.h"
#include "engine/channel/factory/instance_names.h"
#include "engine/channel/handshake.h"
#include "tests/fuzz/fuzz.h"

namespace ferry {
namespace {

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

void check_names(const std::string& text) {
  if (const auto id = runtime_instance_id::parse(text)) {
    FERRY_CHECK(id->full_id() == text);
    const std::string file = file_name_of(*id);
    FERRY_CHECK(!file.empty() && file.find('/') == file.npos && file.find('\0') == file.npos);
    FERRY_CHECK(file[0] != '.' || file.size() > 2);
  }
  if (const auto place = split_address(text)) {
    FERRY_CHECK(!place->port.empty() && place->port.size() <= 5);
    FERRY_CHECK(place->host.size() < text.size());
  } else {
    FERRY_CHECK(place.error().code == errc::invalid_configuration);
  }
}

void run(fuzz_input input) {
  frame_fields fields;
  fields.kind = input.take<std::uint8_t>();
  fields.code = input.take<std::uint32_t>();
  message what;
  what.code = fields.code;
  what.text = input.text(input.take<std::uint16_t>());
  const auto data = input.rest();
  what.data = payload::copy_of(data);
  check_names(what.text);

  const channel_error why = read_refusal(fields, what);
  FERRY_CHECK(is_printable(why.message()) && why.text.size() < max_refusal_bytes + 100);
  const auto hello = read_hello(fields, what);
  if (!hello) {
    FERRY_CHECK(is_printable(hello.error().text) && !hello.error().text.empty());
    return;
  }
  FERRY_CHECK(fields.is(frame_kind::hello) && fields.code == handshake_version);
  FERRY_CHECK(hello->instance.full_id() == what.text);
  FERRY_CHECK(hello->token.has_value() == !data.empty());
  if (hello->token) FERRY_CHECK(same_bytes(*hello->token, data));
}

}  // namespace
}  // namespace ferry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes) {
  ferry::run(ferry::fuzz_input(data, size_bytes));
  return 0;
}
