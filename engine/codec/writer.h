// Appends MessagePack values, each in its shortest form, to bytes of the caller's choosing.
// Layout    the MessagePack format: a type byte, a big-endian number where the type has one, then
//           the payload. A real stays a real of its width: 1.0 is never written as the integer 1,
//           and -0.0 keeps its sign. `array` and `map` write only the head; the caller writes the
//           values that follow.
// Units     `array` counts values, `map` counts pairs. String and binary lengths are bytes.
// Threads   one thread at a time.
// Lifetime  `small` is borrowed and must outlive the writer. Values go there first; when one does
//           not fit, everything moves to a buffer that the writer owns and grows. bytes() is one
//           span either way; it lives until the next write, clear() or the end of the writer.
//           clear() keeps the owned buffer, so a writer that is used again stops allocating.
// Errors    none: a string or binary of 2^32 bytes or more has no MessagePack form and is a broken
//           precondition (CHECK). Running out of memory throws std::bad_alloc, as std::vector does.
// Source    engine/codec/README.md.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ferry {

class value_writer {
 public:
  explicit value_writer(std::span<std::byte> small = {}) noexcept : small_(small) {}
  value_writer(const value_writer&) = delete;  // two writers would share `small`
  value_writer& operator=(const value_writer&) = delete;

  void nil();
  void boolean(bool value);
  void integer(std::int64_t value);
  void unsigned_integer(std::uint64_t value);  // same bytes as integer() for the same number
  void real(double value);
  void real32(float value);
  void string(std::string_view value);  // should be UTF-8; not checked
  void binary(std::span<const std::byte> value);
  void array(std::uint32_t count);
  void map(std::uint32_t count);
  void raw(std::span<const std::byte> encoded);  // values encoded elsewhere, trusted as they are

  std::span<const std::byte> bytes() const noexcept;
  bool spilled() const noexcept { return !spill_.empty(); }  // true: `small` was too small
  void clear() noexcept;

 private:
  std::span<std::byte> small_;
  std::size_t small_used_ = 0;
  std::vector<std::byte> spill_;  // once it holds anything it holds everything
};

}  // namespace ferry
