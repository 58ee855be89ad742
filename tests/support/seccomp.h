// Makes a system call fail the way a container's seccomp profile would.
// Threads   counts for the calling thread and what it starts, and can never be undone: call it in a
//           forked child.
// Errors    false: the kernel has no seccomp filters, or a profile forbids adding one.
#pragma once
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cstddef>

namespace ferry {

// From now on system call `number` (SYS_...) returns -1 with errno `error_number`.
inline bool deny_syscall(int number, int error_number) noexcept {
  // Only this architecture's numbers are compared; other tables of the machine pass.
#if defined(__x86_64__)
  constexpr unsigned architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  constexpr unsigned architecture = AUDIT_ARCH_AARCH64;
#else
#error "add this machine's AUDIT_ARCH"
#endif
  const auto number_bits = static_cast<unsigned>(number);
  const auto verdict = SECCOMP_RET_ERRNO | (static_cast<unsigned>(error_number) & SECCOMP_RET_DATA);
  sock_filter program[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, arch)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, architecture},
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number_bits},
      {BPF_RET | BPF_K, 0, 0, verdict},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  const sock_fprog filter{sizeof(program) / sizeof(program[0]), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

}  // namespace ferry
