// Sends files to a worker, several at a time, and checks its answers against our own.
// A file goes: opened, read into a loan, computed here, handed over. While the worker computes it,
// this side reads and computes the next one, so two CPUs are busy and nothing is copied.
// Threads   one at a time; it starts none.
// Lifetime  borrows all that it is given; the worker ends with it.
// Errors    what is wrong with one file is said and noted, and the rest goes on. A worker that dies
//           or does not answer in time is started again, and what it had is sent again: the
//           functions only read, so to repeat one does no harm. After max_relaunches it is over.
#pragma once
#include <csignal>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/launch.h"
#include "tools/examples/console.h"
#include "tools/examples/file_list.h"
#include "tools/examples/file_source.h"
#include "tools/examples/job.h"
#include "tools/examples/summary.h"

namespace ferry::examples {

struct sender_options {
  std::vector<std::string> command;  // of the worker
  launch_options launch;
  std::size_t max_in_flight = 4;                  // calls
  std::uint64_t max_in_flight_bytes = 256 << 20;  // a larger file goes alone
  std::uint64_t max_body_bytes = 1 << 30;
  std::uint64_t max_relaunches = 3;
  bool print = false;  // a line for each answer
};

enum class run_end { complete, interrupted, worker_unusable };

class file_sender {
 public:
  // `stop`: not 0 once the user wants an end.
  file_sender(sender_options options, const job& job, console& console, summary& summary,
              const volatile std::sig_atomic_t& stop);

  // Starts the worker; says why not.
  bool start_worker();
  run_end send_all(std::vector<listed_file> files);

 private:
  struct flight {
    std::size_t file;          // index into files_
    std::uint64_t bytes;       // of the file
    std::uint64_t loan_bytes;  // of the argument
    std::string expected;      // what we computed
    std::optional<problem> changed;
  };

  void send_next();
  result<loan> borrow(std::uint64_t size_bytes);
  bool has_room(std::uint64_t size_bytes) const;
  void turn(std::chrono::nanoseconds timeout);
  void landed(std::uint64_t number, call_result&& outcome);
  void checked(const flight& of, const std::string& answer);
  bool recover();
  run_end leave();
  bool may_go_on() const { return !broken_ && stop_ == 0; }
  void note(std::size_t file, problem what);
  work_done done_so_far() const;

  const sender_options options_;
  const job& job_;
  console& console_;
  summary& summary_;
  const volatile std::sig_atomic_t& stop_;

  std::vector<listed_file> files_;
  std::deque<std::size_t> queue_;  // still to be sent, indices into files_
  std::map<std::uint64_t, flight> flights_;
  std::uint64_t last_number_ = 0;  // of a flight
  std::uint64_t bytes_in_flight_ = 0;
  std::uint64_t bytes_given_up_ = 0;  // of files that will not be sent
  std::vector<flight> lost_;          // they were with a worker that is no more
  std::optional<call_error> broken_;  // why the worker is of no more use
  function_id function_{};
  std::optional<launched> worker_;  // last: its end runs callbacks that use all of the above
};

}  // namespace ferry::examples
