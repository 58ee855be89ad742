// The worker of the end-to-end tests: every behaviour that a host must cope with, by name.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "worker/worker.h"

namespace {

using ferry::body;
using ferry::context;

struct point {
  int x = 0, y = 0;
  static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
};

}  // namespace

int main() {
  ferry::worker w;
  std::vector<ferry::responder> held;
  std::vector<body> kept;

  w.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
  w.raw("size", [](context& call, body argument) {
    (void)call.reply(std::to_string(argument.size()));
  });
  w.raw("sum", [](context& call, body argument) {
    std::uint64_t sum = 0;
    for (const std::byte b : argument.bytes()) sum += std::to_integer<std::uint64_t>(b);
    (void)call.reply(std::to_string(sum));
  });
  // "N C": an answer of N bytes of character C.
  w.raw("make", [](context& call, body argument) {
    const std::string text(argument.text());
    auto made = call.borrow(std::stoull(text));
    if (!made) return (void)call.fail(made.error().code, made.error().message());
    std::memset(made->data(), text.back(), made->size());
    (void)call.reply(std::move(*made));
  });
  w.raw("hold", [&](context& call, body) { held.push_back(call.defer()); });
  // Answers what was held, last first, with its position.
  w.raw("release", [&](context& call, body) {
    while (!held.empty()) {
      (void)held.back().reply(std::to_string(held.size() - 1));
      held.pop_back();
    }
    (void)call.reply(std::string_view("released"));
  });
  w.raw("drop_held", [&](context& call, body) {
    held.clear();
    (void)call.reply(std::string_view("dropped"));
  });
  w.raw("from_thread", [](context& call, body argument) {
    std::thread([answer = call.defer(), argument = std::move(argument)]() mutable {
      (void)answer.reply(argument.bytes());
    }).detach();
  });
  w.raw("keep", [&](context& call, body argument) {
    kept.push_back(std::move(argument));
    (void)call.reply(std::to_string(kept.size()));
  });
  w.raw("forget", [&](context& call, body) {
    kept.clear();
    (void)call.reply(std::string_view("forgotten"));
  });
  w.raw("silent", [](context&, body) {});
  w.raw("twice", [](context& call, body) {
    (void)call.reply(std::string_view("first"));
    if (call.reply(std::string_view("second"))) std::abort();
  });
  w.raw("sleep_ms", [](context& call, body argument) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(std::string(argument.text()))));
    (void)call.reply(std::string_view("slept"));
  });
  w.raw("left_ms", [](context& call, body) {
    const auto left = call.deadline() ? *call.deadline() - std::chrono::steady_clock::now()
                                      : std::chrono::nanoseconds(-1'000'000);
    (void)call.reply(std::to_string(left.count() / 1'000'000));
  });
  w.raw("fail", [](context& call, body argument) {
    (void)call.fail(static_cast<ferry::errc>(2042), argument.text());
  });
  w.raw("throw", [](context&, body argument) {
    throw std::runtime_error(std::string(argument.text()));
  });
  w.raw("throw_odd", [](context&, body) { throw 42; });
  w.raw("die", [](context&, body) { ::kill(::getpid(), SIGKILL); });
  w.raw("pid", [](context& call, body) { (void)call.reply(std::to_string(::getpid())); });
  w.raw("reactor", [&](context& call, body) { (void)call.reply(std::string_view(w.reactor_name())); });

  w.function("add", [](int a, int b) { return a + b; });
  w.function("concat", [](const std::string& a, std::string_view b) { return a + std::string(b); });
  w.function("mirror", [](point p) { return point{p.y, p.x}; });
  w.function("nothing", [](bool) {});
  w.function("divide", [](int a, int b) -> ferry::result<int, ferry::call_error> {
    if (b == 0) return ferry::call_error{ferry::errc::invalid_params, "division by zero", false};
    return a / b;
  });
  return w.main();
}
