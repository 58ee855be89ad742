// What to do when a call ends: a move-only callable kept in place, so that a call allocates
// nothing.
// Threads   a plain value; whoever completes the call invokes it, once.
// Source    engine/README.md, "Calls".
#pragma once
#include "engine/body.h"
#include "engine/unique_function.h"
#include "ring/record.h"
#include "shm/result.h"

namespace ferry {

using call_result = result<body, call_error>;

// Invoked as f(answer, content, why). `why`: null for a result, which is `content`; otherwise the
// failure, to be moved from. `answer`: the record that ended the call, or null if this side ended
// it.
using completion =
    unique_function<void(const record_fields* answer, body&& content, call_error* why)>;

}  // namespace ferry
