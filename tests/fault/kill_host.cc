// A host to be killed: starts a worker, says its pid on stdout, then works without end.
// usage: kill_host WORKER SEED
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "supervisor/launch.h"
#include "tests/fault/random_work.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  auto host = ferry::launch({argv[1]});
  if (!host) {
    std::fprintf(stderr, "kill_host: %s\n", host.error().message().c_str());
    return 2;
  }
  std::printf("%d\n", host->pid());
  std::fflush(stdout);
  ferry::random_work work(*host, static_cast<unsigned>(std::atoi(argv[2])));
  while (work.step()) {
  }
  return 3;  // the worker died first: not what the test wants
}
