// What went wrong, as a value: a code for programs and a sentence for people.
// Threads   plain values. An `error` is trivially copyable and allocates nothing, so any path may
//           return one; only message() allocates.
// Codes     1000 and up are the codes that travel in an error reply (1000-1999 the caller's fault,
//           2000-2999 the function's, 3000-3999 the system's); below 1000 they are local. Appended
//           to, never renumbered. A peer may send any code in its range, so a switch needs a
//           default.
// Source    shm/README.md, "Errors".
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ferry {

enum class errc : std::uint16_t {
  full = 1,              // no room now: try again after the peer has read or returned something
  empty = 2,             // nothing there now
  closed = 3,            // this side closed it
  corrupt = 4,           // the peer broke the layout or the protocol: the session is over
  system = 5,            // a system call failed; `sys_errno` says how
  no_memory = 6,         // a quota or the memory cgroup leaves less than was asked for
  limit = 7,             // a limit of this process or machine is in the way; `what` names it
  bad_argument = 8,      // the caller passed something impossible
  version_mismatch = 9,  // the peers do not speak the same version or lack a needed feature
  refused = 10,          // the peer or the kernel said no
  not_supported = 11,    // this kernel or container cannot do it
  // Of channels; see engine/channel/README.md for what an instance's supervisor does about each.
  connection_failed = 12,        // nobody there, or the link broke before it stood
  authentication_failed = 13,    // one side refused the other: no reason to try another way
  unsupported_transport = 14,    // no transport of this name is known
  unsupported_runtime = 15,      // no runtime type of this name, or none with a strategy
  unsupported_channel = 16,      // this runtime has no such channel, or it was not built in
  channel_creation_failed = 17,  // every way was tried
  invalid_configuration = 18,    // a setting that is missing or makes no sense
  send_failed = 19,              // the link could not take a message
  receive_failed = 20,           // the link could not give one

  invalid_request = 1000,
  invalid_params = 1001,
  function_not_found = 1002,
  unauthorized = 1003,
  frame_too_large = 1004,
  execution_failed = 2000,
  timeout = 2001,
  cancelled = 2002,
  panic = 2003,
  internal = 3000,
  unavailable = 3001,
  overloaded = 3002,
};

// The name of a code as users see it ("unavailable"); "error" for a code we do not know.
std::string_view name_of(errc code) noexcept;

struct error {
  errc code;
  int sys_errno = 0;          // set with errc::system and, where known, errc::limit
  const char* what = "";      // string literal: the call or the check that failed
  std::uint64_t wanted = 0;   // bytes or items that were asked for; 0 = says nothing
  std::uint64_t allowed = 0;  // bytes or items that the limit leaves

  // One line for a person: what failed, why, and the numbers. Allocates.
  std::string message() const;
};

// How a call failed: the code and text that the peer (or this side, for it) gave.
struct call_error {
  errc code = errc::internal;
  std::string text;
  bool maybe_executed = false;  // true: the function may have run, so a retry may run it twice
  std::vector<std::byte> detail = {};  // the function's own error, as MessagePack; see typed_error

  std::string message() const;  // "unavailable (3001): the worker died"
};

}  // namespace ferry
