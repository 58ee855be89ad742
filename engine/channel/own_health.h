// What a process can say of itself without being asked to measure anything.
// Threads   any.
// Source    engine/channel/README.md, "Health".
#pragma once
#include "engine/channel/message.h"

namespace ferry {

// Processor time of the process since it began, in percent of the time that has passed; resident
// memory; the time of day. The rest is 0.
health_metrics process_metrics();

}  // namespace ferry
