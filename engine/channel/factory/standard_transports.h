// The transports that Ferry brings along.
// Threads   a plain function.
// Source    engine/channel/factory/README.md, "Transports".
#pragma once
#include <memory>

#include "engine/channel/factory/memory_endpoints.h"
#include "engine/channel/factory/transports.h"

namespace ferry {

// Where the memory channels of this process meet. One for all factories that should see each other.
std::shared_ptr<memory_endpoints> make_memory_endpoints();

// shm+unix, unix, tcp, memory; tls if it was built in.
void add_standard_transports(transport_registry& transports,
                             const std::shared_ptr<memory_endpoints>& endpoints);

}  // namespace ferry
