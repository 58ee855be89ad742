// ferry-perf-worker: the worker of the harness. Its argument says how it waits.
#include <cstring>
#include <string_view>
#include <vector>

#include "perf/heap_count.h"
#include "perf/peer.h"
#include "worker/worker.h"

namespace ferry::perf {
namespace {

wait_mode parse_wait(std::string_view name) {
  if (name == "spin") return wait_mode::spin;
  if (name == "block") return wait_mode::block;
  return wait_mode::adaptive;
}

int worker_main(const char* wait) {
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
  w.function(items,
             [](std::uint64_t count, std::uint32_t size, sink<body>& out) {
               std::vector<std::byte> item(size);
               for (std::uint64_t i = 0; i < count; ++i) {
                 std::memcpy(item.data(), &i, sizeof i);
                 if (!out.write(std::span<const std::byte>(item))) return;
               }
             },
             {.on_serving_thread = true});
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

}  // namespace
}  // namespace ferry::perf

int main(int argc, char** argv) {
  return ferry::perf::worker_main(argc > 1 ? argv[1] : "adaptive");
}
