// Owns one memory mapping: moves, never copies; the destructor unmaps it.
// Lifetime  spans from bytes() borrow it.  Threads  a plain value.
// Errors    limit, system: mmap said no (mapping_error names the limit).
#pragma once
#include <cstddef>
#include <span>
#include <utility>

#include "shm/birthplace.h"
#include "shm/result.h"

namespace ferry {

// Maps the pages under [offset, offset + size_bytes) of a shared mapping now instead of at their
// first touch: the same cost (some 0.4 ms per MB), but at a time of our choosing. Best effort;
// changes no contents.
void populate_for_writing(std::span<std::byte> memory, std::size_t offset,
                          std::size_t size_bytes) noexcept;
void populate_for_reading(std::span<std::byte> memory, std::size_t offset,
                          std::size_t size_bytes) noexcept;

class mapping {
 public:
  enum class access { read, read_write };

  mapping() = default;
  mapping(mapping&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), made_in_(other.made_in_) {}
  mapping& operator=(mapping other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(made_in_, other.made_in_);
    return *this;
  }
  ~mapping();

  // A shared mapping of the whole of `fd`, kept out of forked children and core dumps.
  static result<mapping> map(int fd, std::size_t size_bytes, access how) noexcept;

  std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit mapping(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  std::span<std::byte> bytes_;
  birthplace made_in_;  // in a forked child something else may lie there by now
};

}  // namespace ferry
