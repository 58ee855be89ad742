#include "tools/examples/file_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ferry::examples {
namespace {

// The kernel takes 2 GiB less a page at once; smaller steps let a signal through sooner.
constexpr std::size_t read_step_bytes = 16 << 20;

problem from_errno(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR: return {problem_kind::missing, "no such file"};
    case EACCES:
    case EPERM: return {problem_kind::unreadable, "permission denied"};
    default: return {problem_kind::read_error, ::strerrordesc_np(number)};
  }
}

// Why this is nothing to read from; nullopt: it is.
std::optional<problem> unsuitable(const struct stat& is) {
  switch (is.st_mode & S_IFMT) {
    case S_IFREG: return std::nullopt;
    case S_IFDIR: return problem{problem_kind::directory, "is a directory"};
    case S_IFIFO: return problem{problem_kind::not_regular, "is a FIFO, not a regular file"};
    case S_IFSOCK: return problem{problem_kind::not_regular, "is a socket, not a regular file"};
    case S_IFCHR:
    case S_IFBLK: return problem{problem_kind::not_regular, "is a device, not a regular file"};
    default: return problem{problem_kind::not_regular, "is not a regular file"};
  }
}

ssize_t read_some(int file, void* into, std::size_t size_bytes) {
  ssize_t got;
  do {
    got = ::read(file, into, size_bytes);
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace

result<file_source, problem> file_source::open(const std::string& name, std::uint64_t max_bytes) {
  struct stat is {};
  // Look before opening: to open a FIFO waits for a writer, to open a device may rewind a tape.
  if (::stat(name.c_str(), &is) != 0) return from_errno(errno);
  if (auto wrong = unsuitable(is)) return *wrong;
  // And look again at what was opened, which may be another file by now.
  unique_fd file(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return from_errno(errno);
  if (::fstat(file.get(), &is) != 0) return from_errno(errno);
  if (auto wrong = unsuitable(is)) return *wrong;
  const auto size_bytes = static_cast<std::uint64_t>(is.st_size);
  if (size_bytes > max_bytes) {
    return problem{
        problem_kind::too_large,
        fmt::format("is too large: {} bytes, --max-body allows {}", size_bytes, max_bytes)};
  }
  return file_source(std::move(file), size_bytes);
}

result<file_reading, problem> file_source::read_into(std::span<std::byte> into) {
  file_reading out;
  while (out.bytes < into.size()) {
    const std::size_t step = std::min<std::size_t>(into.size() - out.bytes, read_step_bytes);
    const ssize_t got = read_some(file_.get(), into.data() + out.bytes, step);
    if (got < 0) return from_errno(errno);
    if (got == 0) {
      out.changed = problem{problem_kind::changed,
                            fmt::format("shrank while it was read: {} bytes came instead of {}",
                                        out.bytes, into.size())};
      return out;
    }
    out.bytes += static_cast<std::uint64_t>(got);
  }
  // The size alone does not tell: some file systems give 0 for files that hold something.
  std::byte one_more;
  const ssize_t got = read_some(file_.get(), &one_more, 1);
  if (got < 0) return from_errno(errno);
  if (got > 0) out.changed = growth();
  return out;
}

std::optional<problem> file_source::growth() const {
  struct stat is {};
  std::uint64_t now = 0;
  if (::fstat(file_.get(), &is) == 0) now = static_cast<std::uint64_t>(is.st_size);
  if (now > size_bytes_) {
    return problem{problem_kind::changed,
                   fmt::format("grew while it was read: {} of now {} bytes", size_bytes_, now)};
  }
  return problem{problem_kind::changed,
                 fmt::format("holds more than the {} bytes of its size", size_bytes_)};
}

}  // namespace ferry::examples
