// A registered function: what it is called, how it streams, where it runs.
// Threads   fixed once registered; shared by the calls that run it, so that replacing it leaves
//           them theirs.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/method.h"
#include "engine/stream/inbox.h"
#include "worker/context.h"
#include "worker/lanes.h"

namespace ferry {

struct function_options {
  // Calls that run at once. 0: a plain function runs on the thread that serves, one after another,
  // so it should be short; if it streams, on threads of its own, 64 at once; a coroutine without
  // limit. Above 0, a plain function runs on threads of its own, which start with the first call.
  std::uint32_t concurrency = 0;
  std::uint32_t queue_limit = 100;  // calls that wait while those run; more are `overloaded`
  // Of a plain function that streams: it runs on the thread that serves all the same. That gives
  // the most items a second; but as long as it waits for its caller, other such functions and plain
  // functions of all callers wait too.
  bool on_serving_thread = false;
  // How far a caller may send items ahead of the function; 0 counts as 1.
  stream_window window = {};
};

// The argument's memory goes back to the caller when the body goes: at the latest when the function
// returns. `argument = body()` before the answer lets a caller in a loop use the same memory again.
using raw_function = std::function<void(context&, body)>;

struct handler : std::enable_shared_from_this<handler> {
  std::string name;
  method_kind kind = method_kind::unary;
  bool coroutine = false;
  raw_function run;
  function_options options;
  std::optional<lane_id> lane;

  // Of a coroutine with a limit; only the thread that serves touches these.
  struct waiting_call {
    std::shared_ptr<call_state> call;
    body argument;
  };
  mutable std::uint32_t active = 0;
  mutable std::deque<waiting_call> waiting;

  bool plain() const noexcept { return kind == method_kind::unary && !coroutine && !lane; }
};

}  // namespace ferry
