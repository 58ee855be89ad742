// What a process holds of the machine: descriptors, shared mappings, memory, children, files. Taken
// before and after, to show that nothing is kept.
// Units     bytes where the name says so, else a count.
// Threads   plain functions over /proc; a thread that opens something meanwhile is counted too.
// Source    tests/fault: the promise "holds nothing back".
#pragma once
#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <ostream>
#include <set>
#include <string>

namespace ferry {

struct footprint {
  std::size_t descriptors = 0;
  std::size_t memfd_mappings = 0;
  std::size_t children = 0;  // running or dead and not reaped
  friend bool operator==(const footprint&, const footprint&) = default;

  static footprint now();
};
std::ostream& operator<<(std::ostream& out, const footprint& held);

std::size_t resident_bytes();

// What lies in the folders where programs leave things: name and folder. Only names with "ferry" in
// them, since other programs of the machine come and go there as well; and every Unix socket with
// such a name.
std::set<std::string> files_left();
// Those that were not there `before`. Other tests may run meanwhile: theirs go again, and have time
// to.
std::set<std::string> files_left_since(const std::set<std::string>& before);

// An empty folder of our own, the working directory and TMPDIR of this process until it goes: what
// is left in it is ours for certain.
class private_folder {
 public:
  private_folder();
  ~private_folder();
  private_folder(const private_folder&) = delete;
  private_folder& operator=(const private_folder&) = delete;
  std::set<std::string> contents() const;

 private:
  std::string path_;
  std::string before_;
};

// Whether the end of `pid` came within `milliseconds`.
bool ended_within(int pidfd, int milliseconds);
int open_pidfd(pid_t pid);

// The folder that this test program lies in: its helpers lie beside it.
std::string beside_me(const char* program);

}  // namespace ferry
