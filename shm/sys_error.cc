#include "shm/sys_error.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "shm/unique_fd.h"

namespace ferry {
namespace {

// The number that a small file of the kernel begins with; 0 when it cannot be read.
std::uint64_t first_number_in(const char* path) noexcept {
  const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
  std::array<char, 64> text{};
  if (!file || ::read(file.get(), text.data(), text.size() - 1) <= 0) return 0;
  return std::strtoull(text.data(), nullptr, 10);
}

}  // namespace

error descriptor_error(int sys_errno, const char* call) noexcept {
  if (sys_errno == EMFILE) {
    return {errc::limit, sys_errno, "descriptor table full (RLIMIT_NOFILE, ulimit -n)"};
  }
  if (sys_errno == ENFILE) {
    return {errc::limit, sys_errno, "system-wide descriptor table full (fs.file-max)"};
  }
  return {errc::system, sys_errno, call};
}

error mapping_error(int sys_errno, std::uint64_t size_bytes) noexcept {
  if (sys_errno == EAGAIN) {
    return {errc::limit, sys_errno, "RLIMIT_MEMLOCK (ulimit -l; mlockall is on)", size_bytes};
  }
  if (sys_errno != ENOMEM) return {errc::system, sys_errno, "mmap", size_bytes};
  rlimit as{RLIM_INFINITY, RLIM_INFINITY};
  (void)::getrlimit(RLIMIT_AS, &as);
  if (as.rlim_cur != RLIM_INFINITY) {
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t used = first_number_in("/proc/self/statm") * page_bytes;
    const std::uint64_t left = used < as.rlim_cur ? as.rlim_cur - used : 0;
    if (size_bytes > left) {
      return {errc::limit, sys_errno, "RLIMIT_AS (ulimit -v)", size_bytes, left};
    }
  }
  constexpr std::uint64_t address_space_bytes = 1ull << 46;  // half of what a process has: a hint
  if (size_bytes >= address_space_bytes) {
    return {errc::limit, sys_errno, "address space", size_bytes, address_space_bytes};
  }
  return {errc::limit, sys_errno, "vm.max_map_count (mappings of this process)", 0,
          first_number_in("/proc/sys/vm/max_map_count")};
}

}  // namespace ferry
