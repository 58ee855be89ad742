// The worker of the tests that kill, stop or fill. Silent where worker::main() would complain of a
// dead host: that is what these tests do. Exit status: 0 the host closed, 1 it died, 2 anything
// else.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "worker/worker.h"

int main() {
  ferry::worker w;
  std::vector<ferry::responder> held;
  std::vector<ferry::body> kept;
  w.raw("echo",
        [](ferry::context& call, ferry::body argument) { (void)call.reply(argument.bytes()); });
  w.raw("size", [](ferry::context& call, ferry::body argument) {
    (void)call.reply(std::to_string(argument.size()));
  });
  // "N C": an answer of N bytes of character C, written where it is lent.
  w.raw("make", [](ferry::context& call, ferry::body argument) {
    const std::string text(argument.text());
    auto made = call.borrow(std::stoull(text));
    if (!made) return (void)call.fail(made.error().code, made.error().message());
    std::memset(made->data(), text.back(), made->size());
    (void)call.reply(std::move(*made));
  });
  w.raw("hold", [&](ferry::context& call, ferry::body argument) {
    held.push_back(call.defer());
    kept.push_back(std::move(argument));
  });
  w.raw("forget", [&](ferry::context& call, ferry::body) {
    kept.clear();
    (void)call.reply(std::string_view("forgotten"));
  });
  w.raw("sleep_us", [](ferry::context& call, ferry::body argument) {
    std::this_thread::sleep_for(std::chrono::microseconds(std::stoi(std::string(argument.text()))));
    (void)call.reply(std::string_view("slept"));
  });
  const auto ended = w.run();
  if (ended) return 0;
  if (ended.error().code == ferry::errc::unavailable) return 1;
  std::fprintf(stderr, "fault worker: %s\n", ended.error().message().c_str());
  return 2;
}
