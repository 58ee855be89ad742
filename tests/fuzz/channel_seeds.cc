// The seeds of channel_wire, channel_hello and channel_stream: what channels really say.
#include <cstring>
#include <string>
#include <utility>

#include "engine/channel/handshake.h"
#include "tests/fuzz/seed_writer.h"

namespace ferry {
namespace {

using bytes = std::vector<std::byte>;

void append(bytes& to, const void* from, std::size_t size) {
  const auto* const begin = static_cast<const std::byte*>(from);
  to.insert(to.end(), begin, begin + size);
}

bytes begun_with(unsigned first) {
  bytes begun;
  begun.reserve(256);
  begun.push_back(static_cast<std::byte>(first));
  return begun;
}

bytes frame_of(const frame_fields& fields, const message& what) {
  bytes frame;
  const frame_header header = header_of(fields);
  append(frame, &header, sizeof header);
  frame.resize(frame.size() + fields.head_size);
  write_head(what, std::span(frame).subspan(sizeof header));
  append(frame, what.data.data(), what.data.size());
  return frame;
}
bytes frame_of(const message& what, std::uint8_t flags = 0) {
  frame_fields fields = fields_of(what);
  fields.flags |= flags;
  return frame_of(fields, what);
}
bytes frame_of(frame_kind kind, const message& what) {
  return frame_of(control_fields(kind, what), what);
}

std::vector<std::pair<std::string, message>> all_messages() {
  std::vector<std::pair<std::string, message>> all;
  all.emplace_back("request", execution_request("function", payload::copy_of("data")));
  all.back().second.metadata = {{"key", "value"}, {"", ""}};
  all.back().second.request_id = 7;
  all.emplace_back("success", execution_success(payload::copy_of("answer")));
  all.emplace_back("failure", execution_failure(7, "text", "trace"));
  all.emplace_back("timeout", execution_timeout(100));
  all.emplace_back("health", health_response({health_status::degraded, "slow", {}}));
  all.emplace_back("shutdown", shutdown_request(true, 1000));
  all.emplace_back("error", error_message(3, "text"));
  return all;
}

// Input of channel_stream_fuzz.cc, cut into pieces of `piece` bytes.
bytes stream_of(bool greeted, const bytes& frames, std::size_t piece) {
  bytes input = begun_with(greeted ? 1 : 0);
  for (std::size_t at = 0; at < frames.size(); at += piece) {
    const std::size_t size = std::min(piece, frames.size() - at);
    input.push_back(static_cast<std::byte>(size & 0xff));
    append(input, frames.data() + at, size);
  }
  return input;
}

// Input of channel_hello_fuzz.cc.
bytes greeting(frame_kind kind, const message& what) {
  bytes input = begun_with(static_cast<unsigned>(kind));
  append(input, &what.code, sizeof what.code);
  const auto size = static_cast<std::uint16_t>(what.text.size());
  append(input, &size, sizeof size);
  append(input, what.text.data(), size);
  append(input, what.data.data(), what.data.size());
  return input;
}

}  // namespace

void write_channels(seed_writer& to) {
  bytes conversation;
  for (const auto& [name, what] : all_messages()) {
    bytes input = begun_with(2);
    const bytes frame = frame_of(what);
    append(input, frame.data(), frame.size());
    to.write("channel_wire", name, input);
    const bytes asking = frame_of(what, frame_asks);
    append(conversation, asking.data(), asking.size());
  }
  bytes record = begun_with(3);  // call, deadline, head, code, kind and status, flags, body
  append(record, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\1\0\1\6\0\0\0\0\0\0\0", 35);
  record.resize(1 + sizeof(frame_header));
  append(record, "\1\1\0\0\0f", 6);
  to.write("channel_wire", "record", record);

  const auto who = runtime_instance_id::parse("space:process:a.b_c-1");
  message hello = hello_message(*who, std::nullopt);
  const bytes plain = frame_of(frame_kind::hello, hello);
  to.write("channel_hello", "hello", greeting(frame_kind::hello, hello));
  hello = hello_message(*who, channel_token{});
  to.write("channel_hello", "token", greeting(frame_kind::hello, hello));
  hello.text = "[::1]:4711";
  to.write("channel_hello", "address", greeting(frame_kind::hello, hello));
  const message refusal = refusal_message({errc::authentication_failed, "no \1 entry"});
  to.write("channel_hello", "refusal", greeting(frame_kind::refusal, refusal));

  to.write("channel_stream", "hello", stream_of(false, plain, 50));
  to.write("channel_stream", "conversation", stream_of(true, conversation, 100));
  to.write("channel_stream", "byte-by-byte", stream_of(true, frame_of(ack(), frame_asks), 1));
  bytes control = frame_of(frame_kind::ping, message());
  for (const auto kind : {frame_kind::cancel, frame_kind::pong, frame_kind::bye}) {
    const bytes next = frame_of(kind, message());
    append(control, next.data(), next.size());
  }
  to.write("channel_stream", "control", stream_of(true, control, 256));
  const bytes health = frame_of(health_check(), frame_asks);
  to.write("channel_stream", "health", stream_of(true, health, 256));
  to.write("channel_stream", "hello-twice", stream_of(true, plain, 256));
  to.write("channel_stream", "early", stream_of(false, conversation, 256));
}

}  // namespace ferry
