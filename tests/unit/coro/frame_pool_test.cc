#include "engine/coro/frame_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "engine/coro/manual_event.h"
#include "engine/coro/task.h"
#include "perf/heap_count.h"

namespace ferry {
namespace {

TEST(frame_pool, gives_a_block_that_was_given_back_to_the_next_of_its_size) {
  void* const first = take_frame(65);
  give_frame(first, 65);
  void* const smaller = take_frame(64);
  EXPECT_NE(smaller, first);
  void* const same = take_frame(128);
  EXPECT_EQ(same, first);
  give_frame(smaller, 64);
  give_frame(same, 128);
}

TEST(frame_pool, has_room_for_the_whole_of_every_size) {
  for (std::size_t size = 1; size <= frame_pooled_bytes + 1; ++size) {
    void* const frame = take_frame(size);
    std::memset(frame, 0xa5, size);
    give_frame(frame, size);
  }
}

TEST(frame_pool, keeps_no_more_of_a_size_than_its_limit) {
  constexpr std::size_t size = frame_pooled_bytes;
  constexpr std::size_t limit = frame_class_bytes / size;
  std::vector<void*> frames(limit + 1);
  for (void*& frame : frames) frame = take_frame(size);
  for (void* const frame : frames) give_frame(frame, size);
  const auto before = heap_allocations();
  for (void*& frame : frames) frame = take_frame(size);
  EXPECT_EQ(heap_allocations(), before + 1);
  for (void* const frame : frames) give_frame(frame, size);
}

TEST(frame_pool, takes_frames_of_other_threads_and_of_threads_that_ended) {
  void* frame = nullptr;
  std::thread([&] { frame = take_frame(200); }).join();
  give_frame(frame, 200);
  EXPECT_EQ(take_frame(200), frame);
  std::thread([&] { give_frame(frame, 200); }).join();  // freed with the thread, or leaked
}

struct gives_late {
  ~gives_late() { give_frame(frame, 64); }
  void* frame = nullptr;
};

TEST(frame_pool, takes_a_frame_back_from_a_thread_whose_pool_is_gone) {
  std::thread([] {
    static thread_local gives_late late;  // made before the pool's end is, so destroyed after it
    late.frame = take_frame(64);
    give_frame(take_frame(128), 128);
  }).join();
}

task<int> ready(int value) { co_return value; }
task<> many(manual_event& event) {
  for (int i = 0; i < 10; ++i) (void)co_await when_all(ready(i), ready(i + 1));
  co_await event;
}

TEST(frame_pool, coroutines_ask_the_heap_for_nothing_once_it_is_warm) {
  const auto turn = [] {
    manual_event event;
    bool done = false;
    spawn(many(event), [&] { done = true; });
    const auto cancelled = start(many(event));
    event.set();
    return done;
  };
  EXPECT_TRUE(turn());
  const auto before = heap_allocations();
  EXPECT_TRUE(turn());
  EXPECT_EQ(heap_allocations(), before);
}

}  // namespace
}  // namespace ferry
