#include "tools/examples/job.h"

#include <fmt/format.h>

#include <memory>

#include "engine/codec/typed.h"
#include "tools/examples/sha256.h"
#include "tools/examples/text.h"

namespace ferry::examples {
namespace {

using bytes_view = std::span<const std::byte>;

std::string as_text(const text_counts& counts) {
  return fmt::format("{} {} {}", counts.lines, counts.words, counts.bytes);
}
std::string as_text(const search_answer& found) {
  return fmt::format("{} {}", found.count, found.first ? std::to_string(*found.first) : "-");
}

template <class T>
result<std::string> decoded_text(bytes_view bytes) {
  const auto value = decode<T>(bytes);
  if (!value) return value.error();
  return as_text(*value);
}

job sha256_job() {
  auto hasher = std::make_shared<sha256>();
  return {"sha256", "", [hasher](bytes_view file) { return hex(hasher->digest(file)); },
          [](bytes_view bytes) -> result<std::string> {
            if (bytes.size() != sizeof(sha256_digest)) {
              return error{errc::corrupt, 0, "a digest of another length", bytes.size(),
                           sizeof(sha256_digest)};
            }
            return hex(bytes);
          }};
}

job wc_job() {
  return {"wc", "", [](bytes_view file) { return as_text(count_text(file)); },
          decoded_text<text_counts>};
}

job search_job(std::string_view pattern) {
  return {"search", search_prefix(pattern),
          [needle = std::string(pattern)](bytes_view file) {
            return as_text(search_text(needle, file));
          },
          decoded_text<search_answer>};
}

}  // namespace

result<job> make_job(std::string_view name, std::string_view pattern) {
  if (name != "search" && !pattern.empty()) {
    return error{errc::bad_argument, 0, "--pattern is for --job search"};
  }
  if (name == "sha256") return sha256_job();
  if (name == "wc") return wc_job();
  if (name != "search") return error{errc::bad_argument, 0, "--job is sha256, wc or search"};
  if (pattern.empty()) return error{errc::bad_argument, 0, "--job search needs a --pattern"};
  if (pattern.size() > needle_max_bytes) {
    return error{errc::bad_argument, 0, "--pattern is too long", pattern.size(), needle_max_bytes};
  }
  return search_job(pattern);
}

}  // namespace ferry::examples
