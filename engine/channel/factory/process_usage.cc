#include "engine/channel/factory/process_usage.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "shm/unique_fd.h"

namespace ferry {

result<process_usage> measure_process_usage() {
  const unique_fd statm(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  if (!statm) return error{errc::system, errno, "/proc/self/statm"};
  std::array<char, 256> text{};
  const ssize_t size = ::read(statm.get(), text.data(), text.size());
  if (size < 0) return error{errc::system, errno, "/proc/self/statm"};
  // "size resident ...", in pages.
  const char* const end = text.data() + size;
  const void* const blank = std::memchr(text.data(), ' ', static_cast<std::size_t>(size));
  std::uint64_t pages = 0;
  if (blank == nullptr ||
      std::from_chars(static_cast<const char*>(blank) + 1, end, pages).ec != std::errc()) {
    return error{errc::system, EINVAL, "/proc/self/statm"};
  }
  timespec used{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) {
    return error{errc::system, errno, "clock_gettime"};
  }
  process_usage usage;
  usage.memory_bytes = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  usage.cpu_time = std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  return usage;
}

}  // namespace ferry
