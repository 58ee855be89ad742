// A child of this process for one small experiment.
#pragma once
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ferry {

// Runs `in_child` in a forked child; what it returns is the child's exit status. 1000 and more: the
// signal that ended it.
template <class InChild>
int status_of_fork(InChild in_child) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(in_child());
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace ferry
