// The worker of the embed examples: a plain function, a stream and a coroutine.
#include <chrono>

#include "tools/examples/embed_methods.h"

namespace {

bool is_prime(std::uint32_t n) {
  for (std::uint32_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n >= 2;
}

}  // namespace

int main() {
  ferry::worker w;
  w.function(embed::add, [](int a, int b) { return a + b; });
  w.function(embed::primes, [](std::uint32_t below, ferry::sink<std::uint32_t>& out) {
    for (std::uint32_t n = 2; n < below; ++n) {
      if (is_prime(n) && !out.write(n)) return;  // nobody reads any more
    }
  });
  // A coroutine: others are served while it waits. One that should end when its caller gives up
  // takes a context and looks at its stop token.
  w.function(embed::slow, [loop = w.loop()](int ms) mutable -> ferry::task<int> {
    co_await loop.sleep_for(std::chrono::milliseconds(ms));
    co_return ms;
  });
  return w.main();
}
