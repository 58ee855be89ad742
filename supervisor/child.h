// A child process that we started: its pid, its pidfd, its end.
// Threads   one at a time.  Lifetime  the destructor ends the child: it waits `grace`, then kills,
//           then reaps, so no zombie is left.
// Errors    spawn: refused with the text of exec's error; limit; system.
// Source    supervisor/README.md.
#pragma once
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shm/birthplace.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

struct exit_status {
  int code = 0;                 // of exit(), if signal == 0
  int signal = 0;               // that killed it
  std::string message() const;  // "exit status 1", "killed by signal 9 (Killed)"
};

class child {
 public:
  // Starts `command` (found through PATH) with `socket` as descriptor 3 and stdin, stdout and
  // stderr of ours; every other descriptor is closed in it. `environment`: NAME=VALUE, replacing
  // ours.
  static result<child, call_error> spawn(std::span<const std::string> command,
                                         const unique_fd& socket,
                                         std::span<const std::string> environment);
  child(child&& other) noexcept;
  child& operator=(child&& other) noexcept;
  ~child();

  pid_t pid() const noexcept { return pid_; }
  // Waits for the end, at most `timeout`; nullopt: still running.
  std::optional<exit_status> wait(std::chrono::nanoseconds timeout);
  void kill(int signal) noexcept;
  void set_grace(std::chrono::nanoseconds grace) noexcept { grace_ = grace; }

  static constexpr int socket_number = 3;  // of the socket in the child

 private:
  child(pid_t pid, unique_fd pidfd) noexcept : pid_(pid), pidfd_(std::move(pidfd)) {}
  void end() noexcept;

  birthplace made_in_;  // a forked sibling must neither kill nor reap
  pid_t pid_ = 0;       // 0: moved from
  unique_fd pidfd_;
  std::optional<exit_status> ended_;  // reaped
  std::chrono::nanoseconds grace_ = std::chrono::seconds(2);
};

}  // namespace ferry
