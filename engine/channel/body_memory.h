// Memory of this process for bodies that came over a byte stream or wait to be sent: blocks of a
// pool up to pooled_bytes, so that a steady flow allocates nothing, beyond that from the heap.
// Threads   any. Each thread takes from a pool of its own; a body may be dropped on another.
// Lifetime  a body keeps its pool alive.
// Source    engine/channel/README.md, "Bodies".
#pragma once
#include <cstddef>

#include "engine/body.h"

namespace ferry {

inline constexpr std::size_t pooled_bytes = 2048;

struct fresh_body {
  body content;
  std::byte* bytes;  // to be filled before anybody else sees the body
};
fresh_body new_body(std::size_t size_bytes);

}  // namespace ferry
