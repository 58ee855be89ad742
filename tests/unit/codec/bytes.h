// Short ways to spell and print encoded bytes in the codec's tests.
// Threads   plain functions on values.
#pragma once
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace ferry {

using byte_vector = std::vector<std::byte>;

inline byte_vector bytes(std::initializer_list<int> values) {
  byte_vector out;
  for (const int value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

inline byte_vector copy_of(std::span<const std::byte> view) {
  return byte_vector(view.begin(), view.end());
}

// `head`, then `count` times `fill`.
inline byte_vector with_payload(std::initializer_list<int> head, std::size_t count, int fill) {
  byte_vector out = bytes(head);
  out.insert(out.end(), count, static_cast<std::byte>(fill));
  return out;
}

inline std::string hex(std::span<const std::byte> view) {
  std::string out;
  for (const std::byte each : view) {
    char digits[4];
    std::snprintf(digits, sizeof(digits), "%02x ", std::to_integer<unsigned>(each));
    out += digits;
  }
  return out;
}

}  // namespace ferry
