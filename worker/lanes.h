// Threads for functions that block: lanes, each with its own bound on what runs and what waits,
// over threads that all lanes share.
// Threads   any, also from inside a job; but stop and the destructor not from there. Threads start
//           when a lane has work and none is idle, at most the sum of all concurrencies, and end
//           after `idle_time` without work. They are named "ferry-lane" and block every signal: no
//           handler of the process runs there.
// Order     jobs of a lane begin in the order in which they were submitted. A lane that is busy
//           never delays another.
// Lifetime  a job is destroyed by the thread that ran, withdrew or dropped it, never under a lock.
// Errors    full: the lane runs and queues all it may.  closed: stop() was called.  limit: the
//           machine gives no thread. A job may not throw: that ends the process.
// Source    worker/README.md, "Lanes".
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/unique_function.h"
#include "shm/result.h"
#include "shm/strong_id.h"

namespace ferry {

using lane_id = strong_id<struct lane_id_tag, std::uint32_t>;  // from lanes::add_lane
using lane_job = unique_function<void()>;

struct lane_options {
  std::uint32_t concurrency = 1;     // jobs that run at once; at least 1 (CHECK)
  std::uint32_t queue_limit = 1024;  // jobs that wait while those run
};

struct lanes_options {
  std::chrono::nanoseconds idle_time = std::chrono::seconds(10);
};

struct lanes_stats {
  std::size_t running = 0;
  std::size_t queued = 0;
  std::size_t threads = 0;
  std::uint64_t dropped = 0;  // by stop(), before they began
};

class lanes {
  struct queued_job;

 public:
  // A job that was submitted, for as long as its lanes live.
  class ticket {
    friend lanes;
    queued_job* job = nullptr;  // never freed before its lane; the number says whose turn it has
    std::uint64_t number = 0;
  };

  explicit lanes(lanes_options options = {});
  ~lanes();
  lanes(const lanes&) = delete;
  lanes& operator=(const lanes&) = delete;

  lane_id add_lane(lane_options options);

  // Never waits for a job. A job that is refused stays with the caller.
  result<ticket> submit(lane_id lane, lane_job&& job);
  // Destroys the job if it has not begun; false if it has, or was withdrawn or dropped.
  bool withdraw(ticket submitted);
  // Takes no more jobs, drops those that wait, returns when those that run have ended. Idempotent;
  // the destructor does it too.
  void stop();

  lanes_stats stats() const;
  lanes_stats stats(lane_id lane) const;  // of one lane; `threads` are those that run its jobs

 private:
  class impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ferry
