// The reactor over epoll: what every kernel and container allows. notify() sends at once.
// Threads, Lifetime, Errors   as in reactor.h.
// Source    engine/reactor/README.md.
#pragma once
#include "engine/reactor/reactor.h"

namespace ferry {

// `why` is a literal, returned by reactor::why().
result<std::unique_ptr<reactor>> make_epoll_reactor(const char* why);

}  // namespace ferry
