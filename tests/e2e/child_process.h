// A process that a test forks, to talk with it line by line.
// Threads   made before the test starts any.
// Lifetime  killed and reaped with the object.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "shm/unique_fd.h"

namespace ferry {

// A forked child and a pipe each way.
class child_process {
 public:
  template <class InChild>
  explicit child_process(InChild in_child) {
    int to[2] = {}, from[2] = {};
    EXPECT_EQ(::pipe2(to, O_CLOEXEC) | ::pipe2(from, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      in_ = unique_fd(to[0]);
      out_ = unique_fd(from[1]);
      ::close(to[1]);
      ::close(from[0]);
      in_child(*this);
      ::_exit(0);
    }
    in_ = unique_fd(from[0]);
    out_ = unique_fd(to[1]);
    ::close(to[0]);
    ::close(from[1]);
  }
  ~child_process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  void say(const std::string& line) const {
    const std::string whole = line + "\n";
    (void)!::write(out_.get(), whole.data(), whole.size());
  }
  std::string hear() const {  // a line; what there is of it, once the other side has ended
    std::string line;
    for (char c = 0; ::read(in_.get(), &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }

 private:
  pid_t pid_ = -1;
  unique_fd in_, out_;
};

}  // namespace ferry
