#include "shm/segment.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "shm/headroom.h"
#include "shm/sys_error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // since Linux 6.3; older headers do not name it
#endif

namespace ferry {
namespace {

constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
constexpr std::size_t unchecked_bytes = 1u << 20;  // below it the headroom is not worth reading
// A signal undoes a whole fallocate. In steps of a millisecond even a profiler's timer lets it end.
constexpr std::size_t fallocate_step_bytes = 4u << 20;
constexpr int fallocate_tries = 100;

result<unique_fd> make_memfd(const char* name) {
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = ::memfd_create(name, flags | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, flags);  // a kernel before 6.3
  if (fd >= 0) return unique_fd(fd);
  if (errno == EPERM || errno == ENOSYS || errno == EACCES) {
    return error{errc::refused, errno, "memfd_create refused (seccomp profile or vm.memfd_noexec)"};
  }
  return descriptor_error(errno, "memfd_create");
}

result<void> check_headroom(std::size_t size_bytes) {
  if (size_bytes < unchecked_bytes) return {};
  const memory_headroom left = read_headroom();
  const std::uint64_t usable = left.bytes - std::min(left.bytes, headroom_reserve_bytes);
  if (size_bytes <= usable) return {};
  return error{errc::no_memory, 0, left.named_by, size_bytes, usable};
}

result<void> check_file_size(std::size_t size_bytes) {
  rlimit file{RLIM_INFINITY, RLIM_INFINITY};
  (void)::getrlimit(RLIMIT_FSIZE, &file);
  if (file.rlim_cur == RLIM_INFINITY || size_bytes <= file.rlim_cur) return {};
  return error{errc::limit, EFBIG, "RLIMIT_FSIZE (ulimit -f)", size_bytes, file.rlim_cur};
}

result<void> take_pages(int fd, std::size_t size_bytes) {
  for (std::size_t done = 0; done < size_bytes;) {
    const std::size_t step = std::min(fallocate_step_bytes, size_bytes - done);
    int tries = 0;
    while (::fallocate(fd, 0, static_cast<off_t>(done), static_cast<off_t>(step)) != 0) {
      if (errno == EINTR && ++tries < fallocate_tries) continue;
      if (errno == ENOSPC || errno == ENOMEM) {
        return error{errc::no_memory, errno, "fallocate of a segment", size_bytes, done};
      }
      return error{errc::system, errno, "fallocate", size_bytes};
    }
    done += step;
  }
  return {};
}

error not_a_segment(const char* why) { return {errc::corrupt, 0, why}; }

}  // namespace

result<own_segment> own_segment::create(const char* name, std::size_t size_bytes) {
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  constexpr auto largest = static_cast<std::size_t>(std::numeric_limits<off_t>::max());
  if (size_bytes == 0) return error{errc::bad_argument, 0, "segment of no bytes"};
  if (size_bytes > largest - page_bytes) {
    return error{errc::bad_argument, 0, "segment size", size_bytes, largest - page_bytes};
  }
  size_bytes = (size_bytes + page_bytes - 1) & ~(page_bytes - 1);
  // Before anything is taken: past the cgroup's limit the kernel kills, past RLIMIT_FSIZE it
  // raises SIGXFSZ, and neither can be handled afterwards.
  if (const auto enough = check_headroom(size_bytes); !enough) return enough.error();
  if (const auto allowed = check_file_size(size_bytes); !allowed) return allowed.error();
  auto fd = make_memfd(name);
  if (!fd) return fd.error();
  if (const auto taken = take_pages(fd->get(), size_bytes); !taken) return taken.error();
  auto memory = mapping::map(fd->get(), size_bytes, mapping::access::read_write);
  if (!memory) return memory.error();
  return own_segment(std::move(*fd), std::move(*memory));
}

result<void> own_segment::seal() {
  if (::fcntl(fd_.get(), F_ADD_SEALS, all_seals) == 0) return {};
  const int why = errno;
  // MFD_NOEXEC_SEAL has added F_SEAL_EXEC, and a second call finds F_SEAL_SEAL: all that counts is
  // that ours are there.
  const int present = ::fcntl(fd_.get(), F_GET_SEALS);
  if (present >= 0 && (present & all_seals) == all_seals) return {};
  if (why == EINVAL) return error{errc::not_supported, 0, "F_SEAL_FUTURE_WRITE (Linux 5.1)"};
  return error{errc::system, why, "F_ADD_SEALS"};
}

void own_segment::populate(std::size_t offset, std::size_t size_bytes) noexcept {
  populate_for_writing(bytes(), offset, size_bytes);
}

result<peer_segment> peer_segment::map(const unique_fd& memfd, std::size_t exact_size_bytes) {
  // Seals first: they can only be added, and once they are there the size and the pages cannot
  // change under the checks that follow.
  const int seals = ::fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0) return not_a_segment("peer memory: not a memfd (no seals)");
  if ((seals & all_seals) != all_seals) return not_a_segment("peer memory: not sealed");
  struct stat info {};
  if (::fstat(memfd.get(), &info) != 0) return error{errc::system, errno, "fstat"};
  if (!S_ISREG(info.st_mode)) return not_a_segment("peer memory: not a regular file");
  if (info.st_size == 0 || exact_size_bytes == 0) {
    return not_a_segment("peer memory: no bytes");
  }
  const auto size_bytes = static_cast<std::uint64_t>(info.st_size);
  if (size_bytes != exact_size_bytes) {
    return error{errc::corrupt, 0, "peer memory: size differs from the one announced",
                 exact_size_bytes, size_bytes};
  }
  // Reading a hole would take a page on our account, and raise SIGBUS where there is none to take;
  // so would huge pages from an empty pool.
  struct statfs home {};
  if (::fstatfs(memfd.get(), &home) != 0) return error{errc::system, errno, "fstatfs"};
  if (home.f_type != TMPFS_MAGIC) return not_a_segment("peer memory: not ordinary pages");
  if (static_cast<std::uint64_t>(info.st_blocks) * 512 < size_bytes) {
    return not_a_segment("peer memory: has holes");
  }
  auto memory = mapping::map(memfd.get(), exact_size_bytes, mapping::access::read);
  if (!memory) {
    if (memory.error().sys_errno == EACCES) return not_a_segment("peer memory: not readable");
    return memory.error();
  }
  return peer_segment(std::move(*memory));
}

void peer_segment::populate_read(std::size_t offset, std::size_t size_bytes) noexcept {
  populate_for_reading(memory_.bytes(), offset, size_bytes);
}

}  // namespace ferry
