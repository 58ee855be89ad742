#include "shm/mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "shm/sys_error.h"

namespace ferry {
namespace {

void advise(std::span<std::byte> memory, std::size_t offset, std::size_t size_bytes,
            int advice) noexcept {
  if (offset >= memory.size() || size_bytes == 0) return;
  static const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = offset & ~(page_bytes - 1);
  const std::size_t end = offset + std::min(size_bytes, memory.size() - offset);
  (void)::madvise(memory.data() + first, end - first, advice);
}

}  // namespace

mapping::~mapping() {
  if (!bytes_.empty() && !made_in_.left()) ::munmap(bytes_.data(), bytes_.size());
}

result<mapping> mapping::map(int fd, std::size_t size_bytes, access how) noexcept {
  const int protection = how == access::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* base = ::mmap(nullptr, size_bytes, protection, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return mapping_error(errno, size_bytes);
  mapping made({static_cast<std::byte*>(base), size_bytes});
  // A forked child that kept the mapping would keep the memory alive, and could write to it.
  if (::madvise(base, size_bytes, MADV_DONTFORK) != 0) {
    return error{errc::system, errno, "madvise(MADV_DONTFORK)"};
  }
  (void)::madvise(base, size_bytes, MADV_DONTDUMP);  // bodies are private; a refusal hurts nothing
  return made;
}

void populate_for_writing(std::span<std::byte> memory, std::size_t offset,
                          std::size_t size_bytes) noexcept {
  advise(memory, offset, size_bytes, MADV_POPULATE_WRITE);
}

void populate_for_reading(std::span<std::byte> memory, std::size_t offset,
                          std::size_t size_bytes) noexcept {
  advise(memory, offset, size_bytes, MADV_POPULATE_READ);
}

}  // namespace ferry
