// Frames as bytes, for peers that write them by hand.
#pragma once
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <vector>

#include "engine/channel/handshake.h"
#include "tests/e2e/channel_fixture.h"

namespace ferry {

using raw_bytes = std::vector<std::byte>;

inline raw_bytes frame_of(const frame_fields& fields, const message& what) {
  raw_bytes frame(sizeof(frame_header) + fields.head_size);
  const frame_header header = header_of(fields);
  std::memcpy(frame.data(), &header, sizeof header);
  write_head(what, std::span(frame).subspan(sizeof header));
  frame.insert(frame.end(), what.data.bytes().begin(), what.data.bytes().end());
  return frame;
}
inline raw_bytes hello_frame() {
  const message hello = hello_message(test_instance(), std::nullopt);
  return frame_of(control_fields(frame_kind::hello, hello), hello);
}

inline void send_all(const unique_fd& to, const raw_bytes& what) {  // until the victim hangs up
  for (std::size_t at = 0; at < what.size();) {
    const ssize_t sent = ::send(to.get(), what.data() + at, what.size() - at, MSG_NOSIGNAL);
    if (sent <= 0) return;
    at += static_cast<std::size_t>(sent);
  }
}
inline std::string read_to_end(const unique_fd& from) {
  std::string all;
  char part[4096];
  for (ssize_t got; (got = ::recv(from.get(), part, sizeof part, 0)) > 0;) {
    all.append(part, static_cast<std::size_t>(got));
  }
  return all;
}

}  // namespace ferry
