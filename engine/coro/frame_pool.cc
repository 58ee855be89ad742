#include "engine/coro/frame_pool.h"

#include <sanitizer/asan_interface.h>

#include <array>
#include <new>

namespace ferry {
namespace {

struct block {
  block* next;
};
struct size_class {
  block* free;
  std::size_t kept;
};
constexpr std::size_t class_count = frame_pooled_bytes / frame_step_bytes;

// Two objects: the lists have no destructor, so they can be used even while the thread's other
// objects are destroyed; the closer empties them and says that nothing may be kept any more.
struct free_lists {
  std::array<size_class, class_count> classes;
  bool closed;
};
thread_local constinit free_lists lists{};

constexpr std::size_t class_of(std::size_t size_bytes) {
  return (size_bytes - 1) / frame_step_bytes;
}
constexpr std::size_t block_bytes(std::size_t index) { return (index + 1) * frame_step_bytes; }

block* pop(size_class& from, std::size_t index) {
  block* const top = from.free;
  // Poisoned while free, so that the address sanitizer sees whoever uses a frame that is gone.
  ASAN_UNPOISON_MEMORY_REGION(top, block_bytes(index));
  from.free = top->next;
  --from.kept;
  return top;
}

struct closer {
  ~closer() {
    lists.closed = true;
    for (std::size_t index = 0; index < class_count; ++index) {
      size_class& each = lists.classes[index];
      while (each.free != nullptr) ::operator delete(pop(each, index));
    }
  }
  void arm() {}  // the first use makes the object, and so its destructor run
};
thread_local closer at_thread_end;

}  // namespace

void* take_frame(std::size_t size_bytes) {
  if (size_bytes > frame_pooled_bytes) return ::operator new(size_bytes);
  const std::size_t index = class_of(size_bytes);
  size_class& from = lists.classes[index];
  return from.free != nullptr ? pop(from, index) : ::operator new(block_bytes(index));
}

void give_frame(void* frame, std::size_t size_bytes) noexcept {
  if (size_bytes > frame_pooled_bytes || lists.closed) return ::operator delete(frame);
  const std::size_t index = class_of(size_bytes);
  size_class& to = lists.classes[index];
  if (to.kept >= frame_class_bytes / block_bytes(index)) return ::operator delete(frame);
  if (to.free == nullptr) at_thread_end.arm();
  to.free = new (frame) block{to.free};
  ++to.kept;
  ASAN_POISON_MEMORY_REGION(frame, block_bytes(index));
}

}  // namespace ferry
