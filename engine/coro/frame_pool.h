// Memory of coroutine frames: blocks that each thread keeps for its next frames, so that coroutines
// allocate nothing in steady state.
// Units     bytes; blocks come in steps of 64 bytes up to 2 KiB, larger frames from the heap.
// Threads   any. A frame may be given back by another thread than took it: it stays with that one.
// Lifetime  a thread's blocks end with the thread; what is given back even later goes to the heap.
// Limits    a thread keeps at most frame_class_bytes of each size, the rest goes to the heap.
// Source    engine/README.md, "Coroutines".
#pragma once
#include <cstddef>

namespace ferry {

inline constexpr std::size_t frame_step_bytes = 64;
inline constexpr std::size_t frame_pooled_bytes = 2048;  // the largest pooled frame
inline constexpr std::size_t frame_class_bytes = 256 * 1024;

void* take_frame(std::size_t size_bytes);
void give_frame(void* frame, std::size_t size_bytes) noexcept;  // the size that was taken

// The base of a promise whose coroutine's frame comes from here.
struct pooled_frame {
  static void* operator new(std::size_t size_bytes) { return take_frame(size_bytes); }
  static void operator delete(void* frame, std::size_t size_bytes) noexcept {
    give_frame(frame, size_bytes);
  }
};

}  // namespace ferry
