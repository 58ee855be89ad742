// A host without a loop: Ferry's runs on a thread of its own, and any thread calls.
// Usage     embed-thread [WORKER]
#include <cstdio>
#include <future>
#include <thread>

#include "tools/examples/embed_methods.h"

namespace {

using answer = ferry::result<int, ferry::call_error>;

int fail(const ferry::call_error& why) {
  std::fprintf(stderr, "embed-thread: %s\n", why.message().c_str());
  return 1;
}

// A coroutine on the loop's thread: no locks, one thing after another.
ferry::task<> doubled(ferry::client& host, std::promise<answer>& into) {
  auto once = co_await host.call_task(embed::add, 4, 4);
  if (once) once = co_await host.call_task(embed::add, *once, *once);
  into.set_value(std::move(once));
}

}  // namespace

int main(int argc, char** argv) {
  // Before the client, so that it goes after it.
  auto thread = ferry::loop_thread::start();
  if (!thread) {
    std::fprintf(stderr, "embed-thread: %s\n", thread.error().message().c_str());
    return 1;
  }
  ferry::launch_options options;
  options.client.loop = thread->loop();
  auto host = ferry::launch({argc > 1 ? argv[1] : "./embed-worker"}, options);
  if (!host) return fail(host.error());

  // A callback runs on the loop's thread, whatever this one does meanwhile.
  std::promise<answer> slow;
  const auto begun = host->call_async(
      embed::slow, [&](answer&& came) { slow.set_value(std::move(came)); }, 100);
  if (!begun) return fail(begun.error());

  // Blocking calls, from as many threads as you like.
  int sums[2] = {};
  {
    std::jthread other([&] { sums[0] = host->call(embed::add, 1, 2).value_or(0); });
    sums[1] = host->call(embed::add, 20, 22).value_or(0);
  }
  std::printf("1 + 2: %d\n20 + 22: %d\n", sums[0], sums[1]);

  // A stream, read while its items come.
  auto primes = host->server_stream(embed::primes, 100u);
  int count = 0;
  for (;;) {
    const auto next = primes.read();
    if (!next) return fail(next.error());
    if (!*next) break;
    ++count;
  }
  std::printf("primes below 100: %d\n", count);

  std::promise<answer> twice;
  thread->loop().post([&] { ferry::spawn(doubled(*host, twice)); });
  const answer sum = twice.get_future().get();
  if (!sum) return fail(sum.error());
  std::printf("(4 + 4) + (4 + 4): %d\n", *sum);

  const answer waited = slow.get_future().get();
  if (!waited) return fail(waited.error());
  std::printf("ms of waiting: %d\n", *waited);
  return 0;
}
