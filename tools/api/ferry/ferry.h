// All of Ferry's public API: `#include <ferry/ferry.h>`.
//   host side    ferry::launch (supervisor/launch.h), ferry::client (engine/client.h)
//   worker side  ferry::worker (worker/worker.h)
//   both         ferry::result, ferry::call_error (shm/), ferry::body, ferry::loan (engine/body.h)
#pragma once
#include "engine/client.h"
#include "supervisor/launch.h"
#include "worker/worker.h"
