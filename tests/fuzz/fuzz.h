// What every fuzz target includes: its entry, and a reader of the choices that an input makes.
// Layout    a target's own header comment says what its input means. Numbers are little-endian; a
//           number that the input is too short for reads as zero, so every input means something.
// Errors    a broken property is a FERRY_CHECK: it aborts with its line, in every build.
// Source    tests/fuzz/README.md.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "shm/check.h"

// One run, short, that leaves nothing behind and depends on the input alone. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size_bytes);

namespace ferry {

// Lifetime  borrows the input, and so does what bytes() and rest() give.
class fuzz_input {
 public:
  explicit fuzz_input(std::span<const std::byte> input) : left_(input) {}
  fuzz_input(const std::uint8_t* data, std::size_t size_bytes)
      : left_(std::as_bytes(std::span(data, size_bytes))) {}

  bool empty() const { return left_.empty(); }

  template <class T>
  requires std::is_integral_v<T> T take() {
    T value{};
    const auto have = bytes(sizeof value);
    if (!have.empty()) std::memcpy(&value, have.data(), have.size());
    return value;
  }
  // One byte's worth of a choice: 0 <= result < limit <= 256.
  unsigned below(unsigned limit) { return take<std::uint8_t>() % limit; }
  bool flag() { return below(2) == 1; }

  // The next bytes: `most`, or all that are left.
  std::span<const std::byte> bytes(std::size_t most) {
    const auto next = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(next.size());
    return next;
  }
  std::string_view text(std::size_t most) {
    const auto next = bytes(most);
    return {reinterpret_cast<const char*>(next.data()), next.size()};
  }
  std::span<const std::byte> rest() { return bytes(left_.size()); }

 private:
  std::span<const std::byte> left_;
};

inline bool same_bytes(std::span<const std::byte> one, std::span<const std::byte> other) {
  return std::ranges::equal(one, other);
}

}  // namespace ferry
