#include "engine/reactor/reactor.h"

#include <cstdlib>

#include "engine/reactor/epoll_reactor.h"
#include "engine/reactor/uring_reactor.h"

namespace ferry {

result<reactor_kind> parse_reactor_kind(std::string_view name) {
  for (const auto kind : {reactor_kind::automatic, reactor_kind::io_uring, reactor_kind::epoll}) {
    if (name == name_of(kind)) return kind;
  }
  return error{errc::bad_argument, 0, "a reactor is one of: auto, io_uring, epoll"};
}

std::string_view name_of(reactor_kind kind) noexcept {
  switch (kind) {
    case reactor_kind::automatic: return "auto";
    case reactor_kind::io_uring: return "io_uring";
    case reactor_kind::epoll: return "epoll";
  }
  return "error";
}

result<std::unique_ptr<reactor>> reactor::create(reactor_kind kind) {
  const char* why = "chosen by option";
  if (kind == reactor_kind::automatic) {
    const char* const name = std::getenv("FERRY_REACTOR");
    if (name != nullptr && *name != '\0') {
      const auto parsed = parse_reactor_kind(name);
      if (!parsed) {
        return error{errc::bad_argument, 0, "FERRY_REACTOR is one of: auto, io_uring, epoll"};
      }
      kind = *parsed;
      why = "FERRY_REACTOR";
    }
  }
  if (kind == reactor_kind::io_uring) return make_uring_reactor(why);
  if (kind == reactor_kind::epoll) return make_epoll_reactor(why);

  // Whatever the reason was, epoll is worth a try: if the process is out of descriptors or memory,
  // it will say so too.
  auto uring = make_uring_reactor("io_uring is available");
  if (uring) return uring;
  return make_epoll_reactor("io_uring refused by the kernel or container");
}

}  // namespace ferry
