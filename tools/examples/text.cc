#include "tools/examples/text.h"

#include <cstring>

#include "shm/check.h"

namespace ferry::examples {

text_counts count_text(std::span<const std::byte> text) {
  text_counts out;
  out.bytes = text.size();
  std::uint64_t after_space = 1;
  for (const std::byte byte : text) {
    const auto c = std::to_integer<unsigned>(byte);
    const std::uint64_t space =
        (c == ' ') | (c - '\t' < 5);  // no branches: text is random to a CPU
    out.lines += c == '\n';
    out.words += after_space & (space ^ 1);
    after_space = space;
  }
  return out;
}

search_answer search_text(std::string_view needle, std::span<const std::byte> text) {
  search_answer out;
  std::span<const std::byte> rest = text;
  for (;;) {
    const void* found = ::memmem(rest.data(), rest.size(), needle.data(), needle.size());
    if (found == nullptr) return out;
    const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - text.data());
    if (out.count++ == 0) out.first = at;
    rest = text.subspan(at + needle.size());
  }
}

result<search_request> read_search(std::span<const std::byte> argument) {
  if (argument.size() < needle_size_bytes) {
    return error{errc::invalid_params, 0, "no room for the size of the needle", needle_size_bytes,
                 argument.size()};
  }
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < needle_size_bytes; ++i) {
    size |= std::to_integer<std::uint32_t>(argument[i]) << (8 * i);
  }
  const auto rest = argument.subspan(needle_size_bytes);
  if (size == 0) return error{errc::invalid_params, 0, "the needle is empty"};
  if (size > needle_max_bytes) {
    return error{errc::invalid_params, 0, "the needle is too long", size, needle_max_bytes};
  }
  if (size > rest.size()) {
    return error{errc::invalid_params, 0, "the needle is cut short", size, rest.size()};
  }
  return search_request{std::string(reinterpret_cast<const char*>(rest.data()), size),
                        rest.subspan(size)};
}

std::string search_prefix(std::string_view needle) {
  FERRY_CHECK(!needle.empty() && needle.size() <= needle_max_bytes);
  std::string out;
  for (std::size_t i = 0; i < needle_size_bytes; ++i) {
    out.push_back(static_cast<char>((needle.size() >> (8 * i)) & 0xff));
  }
  return out.append(needle);
}

}  // namespace ferry::examples
