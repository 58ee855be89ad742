#include "shm/headroom.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "shm/unique_fd.h"

namespace ferry {
namespace {

constexpr std::size_t max_file_bytes = 16384;      // the largest, memory.stat, has about 2 KB
constexpr std::uint64_t v1_no_limit = 1ull << 62;  // version 1 writes "none" as nearly 2^63
constexpr int max_cgroup_depth = 64;

// What one version of the interface calls its files and its bound.
struct cgroup_files {
  const char* limit;
  const char* usage;
  std::string_view reclaimable;  // key in memory.stat
  const char* bound;
};
constexpr cgroup_files v2{"/memory.max", "/memory.current", "inactive_file",
                          "memory cgroup headroom (memory.max)"};
constexpr cgroup_files v1{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file",
                          "memory cgroup headroom (memory.limit_in_bytes)"};

class small_file {
 public:
  explicit small_file(const char* path) {
    const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    if (!file) return;
    while (size_ < text_.size()) {
      const ssize_t got = ::read(file.get(), text_.data() + size_, text_.size() - size_);
      if (got <= 0) break;
      size_ += static_cast<std::size_t>(got);
    }
  }
  std::string_view text() const { return {text_.data(), size_}; }

 private:
  std::array<char, max_file_bytes> text_;
  std::size_t size_ = 0;
};

// The number at the start of `text`, after blanks; "max" and other words are no number.
std::optional<std::uint64_t> number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc()) return std::nullopt;
  return value;
}

template <class Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// The number behind `key` in a file of "key value" lines.
std::optional<std::uint64_t> value_of(std::string_view text, std::string_view key) {
  std::optional<std::uint64_t> found;
  each_line(text, [&](std::string_view line) {
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ') {
      found = number(line.substr(key.size()));
    }
  });
  return found;
}

void lower(memory_headroom& to, std::uint64_t bytes, const char* named_by) {
  if (bytes < to.bytes) to = {bytes, named_by};
}

void look_at(memory_headroom& so_far, const std::string& folder, const cgroup_files& files) {
  const auto limit = number(small_file((folder + files.limit).c_str()).text());
  if (!limit || *limit >= v1_no_limit) return;
  const auto usage = number(small_file((folder + files.usage).c_str()).text()).value_or(0);
  const auto reclaimable =
      value_of(small_file((folder + "/memory.stat").c_str()).text(), files.reclaimable).value_or(0);
  const std::uint64_t in_use = usage - std::min(usage, reclaimable);
  lower(so_far, *limit - std::min(*limit, in_use), files.bound);
}

// From our own cgroup up to the root of the mount. In a container the path may be the host's and
// lead nowhere below the mount: the mount then shows the container's own cgroup as its root.
void walk_up(memory_headroom& so_far, const std::string& mount, std::string_view path,
             const cgroup_files& files) {
  while (path.ends_with('/')) path.remove_suffix(1);
  const std::string leaf = mount + std::string(path);
  if (path.find("/..") != path.npos || ::access(leaf.c_str(), F_OK) != 0) path = {};
  for (int depth = 0; depth < max_cgroup_depth; ++depth) {
    look_at(so_far, mount + std::string(path), files);
    if (path.empty()) return;
    path = path.substr(0, std::min(path.rfind('/'), path.size()));
  }
}

bool names_memory(std::string_view controllers) {
  while (!controllers.empty()) {
    const std::size_t end = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, end) == "memory") return true;
    controllers.remove_prefix(std::min(end + 1, controllers.size()));
  }
  return false;
}

}  // namespace

memory_headroom read_headroom(const char* proc_self_cgroup, const char* cgroup_root,
                              const char* proc_meminfo) {
  memory_headroom found;
  const std::string root(cgroup_root);
  each_line(small_file(proc_self_cgroup).text(), [&](std::string_view line) {
    const std::size_t first = line.find(':');  // hierarchy:controllers:path
    if (first == line.npos) return;
    const std::size_t second = line.find(':', first + 1);
    if (second == line.npos) return;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (controllers.empty()) {
      walk_up(found, root, path, v2);
      walk_up(found, root + "/unified", path, v2);  // a hybrid machine mounts version 2 here
    } else if (names_memory(controllers)) {
      walk_up(found, root + "/memory", path, v1);
    }
  });
  if (const auto kilobytes = value_of(small_file(proc_meminfo).text(), "MemAvailable:")) {
    lower(found, *kilobytes * 1024, "machine memory (MemAvailable)");
  }
  return found;
}

}  // namespace ferry
