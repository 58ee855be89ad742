// A host on Boost.Asio: Ferry's descriptor in an io_context, beside the program's own timers.
// Usage     embed-asio [WORKER]
#include <utility>  // Boost 1.74 forgets it

#include <boost/asio.hpp>
#include <cstdio>
#include <functional>

#include "tools/examples/embed_methods.h"

namespace {

namespace asio = boost::asio;

// Runs a client whenever the io_context finds its descriptor ready. The client outlives it.
class on_asio {
 public:
  on_asio(asio::io_context& io, ferry::client& host, std::function<void()> afterwards)
      : host_(host), ready_(io, host.fd()), afterwards_(std::move(afterwards)) {}
  ~on_asio() { ready_.release(); }  // the descriptor is the client's

  void run() {
    if (auto ran = host_.run_once(); !ran) {
      std::fprintf(stderr, "embed-asio: %s\n", ran.error().message().c_str());
      return stop();
    }
    afterwards_();
    if (stopped_) return;
    ready_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& why) {
                        if (!why) run();
                      });
  }
  void stop() {
    stopped_ = true;
    ready_.cancel();
  }

 private:
  ferry::client& host_;
  asio::posix::stream_descriptor ready_;
  std::function<void()> afterwards_;
  bool stopped_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  auto host = ferry::launch({argc > 1 ? argv[1] : "./embed-worker"});
  if (!host) {
    std::fprintf(stderr, "embed-asio: %s\n", host.error().message().c_str());
    return 1;
  }
  asio::io_context io;
  int left = 3, status = 0;
  const auto failed = [&](const ferry::call_error& why) {
    std::fprintf(stderr, "embed-asio: %s\n", why.message().c_str());
    status = 1;
    left = 0;
  };
  const auto print = [&](const char* what) {
    return [&, what](ferry::result<int, ferry::call_error>&& answer) {
      if (!answer) return failed(answer.error());
      --left;
      std::printf("%s: %d\n", what, *answer);
    };
  };
  for (const auto& begun : {host->call_async(embed::add, print("20 + 22"), 20, 22),
                            host->call_async(embed::slow, print("ms of waiting"), 100)}) {
    if (!begun) failed(begun.error());
  }

  int count = 0;
  bool streaming = true;
  auto primes = host->server_stream(embed::primes, 100u);
  asio::steady_timer tick(io);
  on_asio* driver = nullptr;
  on_asio driven(io, *host, [&] {
    while (streaming) {
      const auto next = primes.try_next();  // nothing when the rest is still under way
      if (!next) break;
      streaming = *next && **next;
      if (streaming) {
        ++count;
      } else if (!*next) {
        failed(next->error());
      } else {
        --left;
        std::printf("primes below 100: %d\n", count);
      }
    }
    if (left > 0) return;
    tick.cancel();
    driver->stop();
  });
  driver = &driven;

  int ticks = 0;
  std::function<void(const boost::system::error_code&)> ticked =
      [&](const boost::system::error_code& why) {
        if (why || left == 0) return;  // cancelled, or too late for that
        ++ticks;
        tick.expires_after(std::chrono::milliseconds(20));
        tick.async_wait(ticked);
      };
  tick.expires_after(std::chrono::milliseconds(20));
  tick.async_wait(ticked);

  driven.run();  // once before the first wait
  io.run();
  if (status == 0) std::printf("the timer ticked meanwhile: %s\n", ticks > 0 ? "yes" : "no");
  return status;
}
