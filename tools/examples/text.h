// What `wc` and `search` compute, and how they travel.
// Layout    wc's argument is the text itself; its answer a text_counts.
//           search's argument is the size of the needle (32 bits, little-endian), the needle, then
//           the text up to the end; its answer a search_answer. Answers are MessagePack.
// Threads   plain functions.
// Trust     the argument may lie in memory that its sender can still change: the size is read once,
//           the needle copied; the text may change under the search, which stays inside it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include "shm/result.h"

namespace ferry::examples {

inline constexpr std::size_t needle_max_bytes = 64 * 1024;
inline constexpr std::size_t needle_size_bytes = 4;  // of the number in front of the needle

struct text_counts {
  std::uint64_t lines = 0;  // line feeds
  std::uint64_t words = 0;  // longest runs of bytes that are not ASCII white space
  std::uint64_t bytes = 0;
  static auto ferry_fields(auto& self) { return std::tie(self.lines, self.words, self.bytes); }
};

struct search_answer {
  std::uint64_t count = 0;             // occurrences that do not overlap, from the left
  std::optional<std::uint64_t> first;  // offset in the text of the first one
  static auto ferry_fields(auto& self) { return std::tie(self.count, self.first); }
};

struct search_request {
  std::string needle;
  std::span<const std::byte> text;  // in the argument
};

text_counts count_text(std::span<const std::byte> text);
search_answer search_text(std::string_view needle, std::span<const std::byte> text);

// invalid_params: cut short, an empty needle, or one longer than needle_max_bytes or the argument.
result<search_request> read_search(std::span<const std::byte> argument);
// What stands in front of the text. The needle is 1 to needle_max_bytes long (CHECK).
std::string search_prefix(std::string_view needle);

}  // namespace ferry::examples
