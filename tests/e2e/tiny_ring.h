// A session whose rings are soon full, and calls that do not wait for room.
#pragma once
#include "engine/client/client.h"

namespace ferry {

inline client_options tiny_ring() {
  client_options options;
  options.session.ring_bytes = 4096;
  options.session.inline_limit = 512;
  return options;
}
// The same for a test-worker.
inline constexpr const char* tiny_ring_worker = "ring_bytes=4096 inline_limit=512";

inline call_options without_waiting() {
  call_options options;
  options.wait_for_room = false;
  return options;
}

}  // namespace ferry
