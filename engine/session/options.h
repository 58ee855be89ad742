// What a host or a worker may choose about its side of a session. The defaults suit most.
// Threads   plain values, read once when the session opens.
// Source    engine/README.md, "Waiting".
#pragma once
#include <chrono>
#include <cstdint>

#include "engine/reactor/reactor.h"
#include "shm/body_arena.h"

namespace ferry {

// How a thread waits for the peer.
enum class wait_mode {
  adaptive,  // spins only while that pays and the peer runs on another CPU, then sleeps
  spin,      // never sleeps: the lowest latency, one CPU per waiting side, also when idle
  block,     // sleeps at once: the least CPU
};

struct wait_options {
  wait_mode mode = wait_mode::adaptive;
  // The longest that `adaptive` spins before one sleep. It spins that long only when answers or
  // calls have lately come within half of it, so it is a bound, not a price per sleep.
  std::chrono::nanoseconds spin_limit = std::chrono::microseconds(400);
};

struct session_options {
  std::uint64_t ring_bytes = 512 << 10;  // a power of two: records under way towards the peer
  std::uint32_t returns_cells = 4096;    // a power of two: 7/8 as many bodies of the peer at once
  std::uint32_t inline_limit = 2048;     // larger bodies are lent, smaller ones travel in the ring
  arena_options arena;                   // memory for the bodies that this side lends
  wait_options wait;
  reactor_kind reactor = reactor_kind::automatic;
  std::chrono::nanoseconds hello_timeout = std::chrono::seconds(10);
};

}  // namespace ferry
