// Reads MessagePack values one after another out of bytes that may be hostile.
// Written by hand because msgpack-cxx only pushes: it parses a whole message into callbacks or into
// a tree on the heap, and allocates its own stack for either. Here the caller asks for the value it
// expects, and nothing is allocated. The tests compare both on random values and random bytes.
// Layout    the MessagePack format; longer forms than needed are accepted. Extension types can only
//           be skipped. Strings should be UTF-8; not checked.
// Units     `array` counts values, `map` counts pairs, position() and lengths are bytes.
// Threads   one thread at a time.
// Lifetime  the input is borrowed: it must outlive the reader and every string and binary that
//           the reader returned, which are views into it.
// Limits    containers open inside containers: max_value_depth. When one is opened, the values that
//           it and those around it still promise must not exceed the bytes left (each takes at
//           least one), so a count may size a reserve(). skip() takes time linear in what it skips.
// Trust     the input may be memory that a peer still writes to. Every head is loaded once and then
//           checked, so the bounds above hold; what a returned view shows may still change.
// Errors    invalid_params, always: "truncated value", "expected an integer" and the like, "nesting
//           deeper than 64", "array longer than the input" (wanted = count, allowed = bytes
//           left). A failed call consumes nothing: the value can be read again as something else.
// Source    engine/codec/README.md.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "shm/result.h"

namespace ferry {

inline constexpr std::size_t max_value_depth = 64;  // open containers; a scalar stands at depth 0

enum class value_kind : std::uint8_t {
  nil,
  boolean,
  integer,
  real,
  string,
  binary,
  array,
  map,
  extension
};

class value_reader {
 public:
  explicit value_reader(std::span<const std::byte> input) noexcept : input_(input) {}
  value_reader(const value_reader&) = delete;  // copies half a kilobyte: surely a mistake
  value_reader& operator=(const value_reader&) = delete;

  result<value_kind> peek() const noexcept;  // of the next value
  bool next_is_nil() const noexcept;         // false too when there is no next value

  result<void> nil() noexcept;
  result<bool> boolean() noexcept;
  result<std::int64_t> integer() noexcept;            // above 2^63 - 1: "integer out of range"
  result<std::uint64_t> unsigned_integer() noexcept;  // below 0: "integer out of range"
  result<double> real() noexcept;  // an integer too, when a double holds it exactly
  result<std::string_view> string() noexcept;
  result<std::span<const std::byte>> binary() noexcept;
  result<std::uint32_t> array() noexcept;  // the values follow
  result<std::uint32_t> map() noexcept;    // key, value, key, value, ... follow
  result<void> skip() noexcept;            // the next value with all that is inside it

  bool at_end() const noexcept { return position_ == input_.size(); }
  std::size_t position() const noexcept { return position_; }

 private:
  struct head;

  const char* load_head(head& out) const noexcept;  // nullptr, or the check that failed
  result<head> expect(value_kind kind, const char* otherwise) const noexcept;
  result<void> open(const head& container) noexcept;
  void consume(std::size_t size_bytes) noexcept;
  result<std::uint32_t> enter(value_kind kind, const char* otherwise) noexcept;

  std::span<const std::byte> input_;
  std::size_t position_ = 0;
  std::size_t depth_ = 0;      // open containers: read, and not all of their values read yet
  std::uint64_t pending_ = 0;  // values they still promise, together
  // Values left in each open container, outermost first. Only the first depth_ are ever read, so
  // zeroing the rest would be the dearest part of reading two integers.
  std::array<std::uint64_t, max_value_depth> left_;
};

}  // namespace ferry
