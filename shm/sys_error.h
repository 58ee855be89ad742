// Turns the errno of a failed system call into an error that names the limit in the way.
// Threads   plain functions, no state, no allocation.
// Errors    these make errors: limit where a limit of the process or machine is the cause, else
// system. Source    shm/README.md, "Errors".
#pragma once
#include <cstdint>

#include "shm/error.h"

namespace ferry {

// For a call that makes a descriptor: EMFILE and ENFILE become limits with a name. `call` is a
// string literal.
error descriptor_error(int sys_errno, const char* call) noexcept;

// For a failed mmap of `size_bytes`: tells RLIMIT_AS, RLIMIT_MEMLOCK, vm.max_map_count and a full
// address space apart.
error mapping_error(int sys_errno, std::uint64_t size_bytes) noexcept;

}  // namespace ferry
