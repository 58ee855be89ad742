// All of Ferry's public API but for channels (<ferry/channels.h>): `#include <ferry/ferry.h>`.
//   host side    ferry::launch (supervisor/launch.h), ferry::client (engine/client/client.h)
//   worker side  ferry::worker (worker/worker.h)
//   both         ferry::method (engine/method.h), ferry::stream, sink (engine/stream/stream.h),
//                ferry::loop (engine/loop/loop.h), ferry::task (engine/coro/task.h),
//                ferry::body, ferry::loan (engine/body.h), ferry::result, ferry::call_error (shm/)
#pragma once
#include "engine/client/client.h"
#include "engine/coro/manual_event.h"
#include "supervisor/launch.h"
#include "worker/worker.h"
