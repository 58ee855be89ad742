// The reactor over io_uring: arming, sending and waiting share one system call.
// Threads, Lifetime, Errors   as in reactor.h; needs Linux 5.11.
// Source    engine/reactor/README.md.
#pragma once
#include "engine/reactor/reactor.h"

namespace ferry {

// `why` is a literal, returned by reactor::why(). Tries the ring out, so that a kernel setting or a
// seccomp profile is found here and not in the middle of a session.
result<std::unique_ptr<reactor>> make_uring_reactor(const char* why);

}  // namespace ferry
