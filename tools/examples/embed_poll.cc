// A host with a poll() loop of its own: Ferry is one more descriptor in it.
// Usage     embed-poll [WORKER]
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "tools/examples/embed_methods.h"

namespace {

int fail(const ferry::call_error& why) {
  std::fprintf(stderr, "embed-poll: %s\n", why.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  auto host = ferry::launch({argc > 1 ? argv[1] : "./embed-worker"});
  if (!host) return fail(host.error());

  // Three things at once. The callbacks run inside run_once(), on this thread.
  int left = 3;
  std::optional<ferry::call_error> problem;
  const auto print = [&](const char* what) {
    return [&, what](ferry::result<int, ferry::call_error>&& answer) {
      --left;
      if (!answer) return (void)(problem = answer.error());
      std::printf("%s: %d\n", what, *answer);
    };
  };
  if (auto begun = host->call_async(embed::add, print("20 + 22"), 20, 22); !begun) {
    return fail(begun.error());
  }
  if (auto begun = host->call_async(embed::slow, print("ms of waiting"), 100); !begun) {
    return fail(begun.error());
  }
  auto primes = host->server_stream(embed::primes, 100u);

  // Something else that the program waits for: a timer every 20 ms.
  const int timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const itimerspec every{{0, 20'000'000}, {0, 20'000'000}};
  if (timer < 0 || ::timerfd_settime(timer, 0, &every, nullptr) != 0) {
    std::perror("embed-poll: timerfd");
    return 1;
  }

  int ticks = 0, count = 0;
  bool streaming = true;
  std::uint32_t last = 0;
  pollfd entries[] = {{host->fd(), POLLIN, 0}, {timer, POLLIN, 0}};
  entries[0].revents = POLLIN;  // once before the first poll
  while (left > 0 && !problem) {
    if ((entries[0].revents & POLLIN) != 0) {
      if (auto ran = host->run_once(); !ran) return fail(ran.error());
      // What has come of the stream; nothing when the rest is still under way.
      while (streaming) {
        const auto next = primes.try_next();
        if (!next) break;
        if (!*next) return fail(next->error());
        if (!**next) {  // the end
          streaming = false;
          --left;
          std::printf("primes below 100: %d, the last is %u\n", count, last);
          break;
        }
        ++count;
        last = ***next;
      }
    }
    if ((entries[1].revents & POLLIN) != 0) {
      std::uint64_t times = 0;
      if (::read(timer, &times, sizeof times) == sizeof times) ticks += static_cast<int>(times);
    }
    if (left > 0 && ::poll(entries, 2, 10'000) <= 0) {
      std::fprintf(stderr, "embed-poll: nothing happens\n");
      return 1;
    }
  }
  ::close(timer);
  if (problem) return fail(*problem);
  std::printf("the timer ticked meanwhile: %s\n", ticks > 0 ? "yes" : "no");
  return 0;
}
