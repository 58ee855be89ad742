#include "perf/peer.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "perf/heap_count.h"
#include "worker/worker.h"

namespace ferry::perf {
namespace {

wait_mode parse_wait(std::string_view name) {
  if (name == "spin") return wait_mode::spin;
  if (name == "block") return wait_mode::block;
  return wait_mode::adaptive;
}

}  // namespace

const char* name_of(wait_mode wait) {
  switch (wait) {
    case wait_mode::spin: return "spin";
    case wait_mode::block: return "block";
    case wait_mode::adaptive: return "adaptive";
  }
  return "";
}

int worker_main(std::string_view wait) {
  session_options options;
  options.wait.mode = parse_wait(wait);
  worker w(options);
  w.raw("echo", [](context& call, body argument) { (void)call.reply(argument.bytes()); });
  w.raw("touch", [](context& call, body argument) {
    const std::uint64_t sum = read_all(argument.bytes());
    asm volatile("" ::"r"(sum));  // the reading is the point
    (void)call.reply(argument.bytes());
  });
  w.raw("read", [](context& call, body argument) {
    const std::uint64_t sum = read_all(argument.bytes());
    argument = body();  // given back before the answer, so that the next call finds it
    (void)call.reply(std::as_bytes(std::span(&sum, 1)));
  });
  w.raw("none", [](context& call, body) { (void)call.reply(std::span<const std::byte>()); });
  w.function(add, [](int a, int b) { return a + b; });
  w.function(items, [](std::uint64_t count, std::uint32_t size, sink<body>& out) {
    std::vector<std::byte> item(size);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::memcpy(item.data(), &i, sizeof i);
      if (!out.write(std::span<const std::byte>(item))) return;
    }
  });
  w.function(blocks, [](std::uint64_t count, std::uint32_t size, sink<body>& out) {
    for (std::uint64_t i = 0; i < count; ++i) {
      auto block = out.borrow(size);
      if (!block) return;
      std::memset(block->data(), static_cast<int>(i & 0xff), size);
      std::memcpy(block->data(), &i, sizeof i);
      if (!out.write(std::move(*block))) return;
    }
  });
  w.function(allocations_there, [] { return heap_allocations(); });
  return w.main();
}

launched start_worker(placement where, wait_mode wait, client_options options) {
  launch_options how;
  how.client = std::move(options);
  how.client.session.wait.mode = wait;
  pin_peer(where);  // inherited by the worker
  auto started = launch({"/proc/self/exe", worker_argument, name_of(wait)}, std::move(how));
  pin_client(where);
  if (!started) {
    fmt::print(stderr, "ferry-perf: the worker does not start: {}\n", started.error().message());
    std::exit(3);
  }
  return std::move(*started);
}

}  // namespace ferry::perf
