// Memory that one process writes and others may only read: a sealed memfd and its mappings.
// Layout    none of its own: whole pages of zeros.
// Units     sizes and offsets in bytes; own_segment rounds its size up to whole pages.
// Threads   plain values; what is in the memory is for the caller to order.
// Lifetime  spans borrow the mapping. A peer's mapping stays readable after the owner has died; the
//           memory is gone when the last mapping and the last descriptor are. A forked child has no
//           mapping.
// Errors    no_memory: the cgroup or the machine has less.  limit: names the limit.  refused: memfd
//           is forbidden here.  corrupt: what a peer sent is not a sealed segment of that size.
// Source    shm/README.md, "A segment".
#pragma once
#include <cstddef>
#include <span>
#include <utility>

#include "shm/mapping.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

// The owner's side. All pages are taken at the start (fallocate): a later write cannot fail.
class own_segment {
 public:
  // `name` shows in /proc/<pid>/maps, up to 249 bytes; it opens nothing and need not be unique.
  // bad_argument, no_memory, limit, refused, system
  static result<own_segment> create(const char* name, std::size_t size_bytes);

  // From here on only this mapping can write: the kernel refuses every other write, writable map,
  // truncation and hole, to the owner as well. May be called again.  not_supported, system
  result<void> seal();

  std::span<std::byte> bytes() const noexcept { return memory_.bytes(); }
  int fd() const noexcept { return fd_.get(); }  // borrowed; for passing to the peer
  std::size_t size() const noexcept { return memory_.bytes().size(); }

  // Maps the pages now (mapping.h). Best effort.
  void populate(std::size_t offset, std::size_t size_bytes) noexcept;

 private:
  own_segment(unique_fd fd, mapping memory) noexcept
      : fd_(std::move(fd)), memory_(std::move(memory)) {}

  unique_fd fd_;
  mapping memory_;
};

// The reader's side: mapped only after everything that could hurt a reader is known to be ruled
// out.
class peer_segment {
 public:
  // The descriptor may be closed afterwards.  corrupt, limit, system
  static result<peer_segment> map(const unique_fd& memfd, std::size_t exact_size_bytes);

  std::span<const std::byte> bytes() const noexcept { return memory_.bytes(); }
  void populate_read(std::size_t offset, std::size_t size_bytes) noexcept;  // best effort

 private:
  explicit peer_segment(mapping memory) noexcept : memory_(std::move(memory)) {}

  mapping memory_;
};

}  // namespace ferry
