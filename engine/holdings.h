// Who holds what, since when: what a client and a worker tell of their sessions.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ferry {

struct held_call {
  std::string function;  // as far as its name is known here
  std::chrono::nanoseconds age;
  std::uint32_t items_waiting;  // of a stream: come and not read
  bool stream;
};

struct held_body {
  std::uint64_t size_bytes;
  std::chrono::nanoseconds age;
};

struct session_holdings {
  std::vector<held_call> calls;   // in flight
  std::vector<held_body> bodies;  // that the peer has not given back
};

}  // namespace ferry
