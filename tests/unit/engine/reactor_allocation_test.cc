#include <cstdlib>
#include <new>
#include <vector>

#include "tests/unit/engine/reactor_fixture.h"

namespace {
thread_local std::size_t allocation_count = 0;
}

// The sanitizers bring their own operator new, and one program has room for one.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define FERRY_CANNOT_COUNT
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FERRY_CANNOT_COUNT
#endif

#ifndef FERRY_CANNOT_COUNT
// Every allocation of this program is counted; the other forms of new and delete end up here.
void* operator new(std::size_t size_bytes) {
  ++allocation_count;
  if (void* memory = std::malloc(size_bytes == 0 ? 1 : size_bytes)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace ferry {
namespace {

using reactor_allocation = on_each_reactor;
FERRY_ON_EACH_REACTOR(reactor_allocation);

TEST_P(reactor_allocation, wait_and_notify_allocate_nothing_from_the_first_call_on) {
  std::vector<socket_pair> pairs(100);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ASSERT_TRUE(loop->watch(pairs[i].ours.get(), i));
  }
  const std::size_t before = allocation_count;
  std::size_t event_count = 0;
  for (int turn = 0; turn < 50; ++turn) {
    for (auto& pair : pairs) loop->notify(pair.theirs.get(), std::as_bytes(std::span("ab", 2)));
    loop->flush();
    event_count += *loop->wait(events, generous);
    for (auto& pair : pairs) hear(pair.ours);
    *loop->wait(events, 0ns);
  }
  EXPECT_EQ(allocation_count, before);
  EXPECT_GE(event_count, 50u * pairs.size() / 2);
}

}  // namespace
}  // namespace ferry
