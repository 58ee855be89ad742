// Bytes that say where they belong: what one side writes and the other checks.
// A body that was cut, shifted, mixed with another or never written does not pass.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ferry {

inline std::uint64_t pattern_word(std::size_t index, std::size_t size_bytes) noexcept {
  return (index + 1) * 0x9e37'79b9'7f4a'7c15 ^ size_bytes;
}

inline void write_pattern(std::span<std::byte> bytes) noexcept {
  for (std::size_t at = 0, index = 0; at < bytes.size(); at += 8, ++index) {
    const std::uint64_t word = pattern_word(index, bytes.size());
    std::memcpy(bytes.data() + at, &word, bytes.size() - at < 8 ? bytes.size() - at : 8);
  }
}

inline bool is_pattern(std::span<const std::byte> bytes) noexcept {
  for (std::size_t at = 0, index = 0; at < bytes.size(); at += 8, ++index) {
    const std::uint64_t word = pattern_word(index, bytes.size());
    if (std::memcmp(bytes.data() + at, &word, bytes.size() - at < 8 ? bytes.size() - at : 8) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace ferry
