// The worker of the end-to-end tests: every behaviour that a host must cope with, by name.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/e2e/pattern.h"
#include "perf/heap_count.h"
#include "worker/worker.h"

namespace {

using ferry::body;
using ferry::context;

struct point {
  int x = 0, y = 0;
  static auto ferry_fields(auto& self) { return std::tie(self.x, self.y); }
};

// What FERRY_TEST_OPTIONS asks for: words such as "ring_bytes=4096 mode=block".
ferry::session_options options_from_environment() {
  ferry::session_options options;
  const char* text = std::getenv("FERRY_TEST_OPTIONS");
  std::istringstream words(text == nullptr ? "" : text);
  for (std::string word; words >> word;) {
    const auto split = word.find('=');
    if (split == std::string::npos) continue;
    const std::string name = word.substr(0, split);
    const std::string value = word.substr(split + 1);
    const auto number = [&] { return std::strtoull(value.c_str(), nullptr, 10); };
    if (name == "ring_bytes") options.ring_bytes = number();
    if (name == "returns_cells") options.returns_cells = static_cast<std::uint32_t>(number());
    if (name == "inline_limit") options.inline_limit = static_cast<std::uint32_t>(number());
    if (name == "quota_bytes") options.arena.quota_bytes = number();
    if (name == "mode") {
      options.wait.mode = value == "spin"    ? ferry::wait_mode::spin
                          : value == "block" ? ferry::wait_mode::block
                                             : ferry::wait_mode::adaptive;
    }
  }
  return options;
}

}  // namespace

int main() {
  ferry::worker w(options_from_environment());
  std::vector<ferry::responder> held;
  std::vector<body> kept;
  std::atomic<long> looked_ms{-1};

  w.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
  w.raw("size",
        [](context& call, body argument) { (void)call.reply(std::to_string(argument.size())); });
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
  w.raw("echo_loan", [](context& call, body argument) {
    auto made = call.borrow(argument.size());
    if (!made) return (void)call.fail(made.error().code, made.error().message());
    if (!argument.empty()) std::memcpy(made->data(), argument.data(), argument.size());
    (void)call.reply(std::move(*made));
  });
  w.raw("is_pattern", [](context& call, body argument) {
    (void)call.reply(std::string_view(ferry::is_pattern(argument.bytes()) ? "yes" : "no"));
  });
  // "N M": a loan of N bytes, of which only a pattern of M is sent.
  w.raw("pattern", [](context& call, body argument) {
    std::size_t borrowed = 0, sent = 0;
    std::istringstream(std::string(argument.text())) >> borrowed >> sent;
    auto made = call.borrow(borrowed);
    if (!made) return (void)call.fail(made.error().code, made.error().message());
    made->shrink(sent);
    ferry::write_pattern(made->bytes());
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
  // A thread that wants the loop, of a worker that has nothing to do by then.
  w.raw("look_later", [&](context& call, body) {
    std::thread([&w, &looked_ms] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      const auto began = std::chrono::steady_clock::now();
      (void)w.holdings();
      looked_ms = (std::chrono::steady_clock::now() - began) / std::chrono::milliseconds(1);
    }).detach();
    (void)call.reply(std::string_view("soon"));
  });
  w.raw("looked_ms",
        [&](context& call, body) { (void)call.reply(std::to_string(looked_ms.load())); });
  w.raw("held", [&](context& call, body) { (void)call.reply(std::to_string(held.size())); });
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
  w.raw("throw",
        [](context&, body argument) { throw std::runtime_error(std::string(argument.text())); });
  w.raw("throw_odd", [](context&, body) { throw 42; });
  w.raw("die", [](context&, body) { ::kill(::getpid(), SIGKILL); });
  w.raw("allocations",
        [](context& call, body) { (void)call.reply(std::to_string(ferry::heap_allocations())); });
  w.raw("environment", [](context& call, body argument) {
    const char* value = std::getenv(std::string(argument.text()).c_str());
    (void)call.reply(std::string_view(value == nullptr ? "unset" : value));
  });
  w.raw("print", [](context& call, body argument) {
    std::printf("%.*s\n", static_cast<int>(argument.size()), argument.text().data());
    std::fflush(stdout);
    (void)call.reply(std::string_view("printed"));
  });
  w.raw("pid", [](context& call, body) { (void)call.reply(std::to_string(::getpid())); });
  w.raw("reactor",
        [&](context& call, body) { (void)call.reply(std::string_view(w.reactor_name())); });

  w.function("add", [](int a, int b) { return a + b; });
  w.function("concat", [](const std::string& a, std::string_view b) { return a + std::string(b); });
  w.function("mirror", [](point p) { return point{p.y, p.x}; });
  w.function("nothing", [](bool) {});
  w.function("divide", [](int a, int b) -> ferry::result<int, ferry::call_error> {
    if (b == 0) return ferry::call_error{ferry::errc::invalid_params, "division by zero", false};
    return a / b;
  });
  w.function("check", [](int a) -> ferry::result<void> {
    if (a < 0) return ferry::error{ferry::errc::unauthorized, 0, "negative"};
    return {};
  });
  w.function("length", [](std::span<const std::byte> bytes) { return bytes.size(); });
  return w.main();
}
