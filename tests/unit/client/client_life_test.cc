// What a client's callbacks may do to it, to each other and to the process.
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>

#include "tests/support/attached.h"

namespace ferry {
namespace {

using namespace std::chrono_literals;

inline const method<int(int, int)> add{"add"};

// It ends where it is thrown, whoever drives: here another call, which knows nothing of it.
TEST(client_life_death, of_a_process_whose_callback_throws) {
  EXPECT_DEATH(
      {
        worker w;
        w.function(add, [](int a, int b) { return a + b; });
        client host = attach_to(w);
        const serving_thread served(w);
        (void)host.call_async(
            add, [](auto&&) { throw std::runtime_error("thrown by a callback"); }, 1, 2);
        (void)host.call(add, 1, 2);
      },
      "thrown by a callback");
}

}  // namespace
}  // namespace ferry
