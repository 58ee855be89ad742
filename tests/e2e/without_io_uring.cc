// Runs a program like a container that denies io_uring: without_io_uring PROGRAM ARGUMENTS...
// Exit      the program's; 127 when it cannot be started. Where no filter may be added the program
//           runs all the same, with FERRY_TEST_NO_FILTER=1: its tests then skip themselves.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tests/support/seccomp.h"

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: without_io_uring PROGRAM ARGUMENTS...\n");
    return 127;
  }
  if (!ferry::deny_syscall(SYS_io_uring_setup, EPERM)) ::setenv("FERRY_TEST_NO_FILTER", "1", 1);
  ::execvp(arguments[1], arguments + 1);
  std::perror(arguments[1]);
  return 127;
}
