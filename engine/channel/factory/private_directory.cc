#include "engine/channel/factory/private_directory.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

namespace ferry {
namespace {

channel_error failed(const std::string& path, const char* call, int sys_errno) {
  return {errc::system, path + ": " + call + ": " + ::strerrordesc_np(sys_errno)};
}

// Empty: the directory is ours alone.
std::string objection_to(const struct stat& found) {
  if (S_ISLNK(found.st_mode)) return "is a symbolic link";
  if (!S_ISDIR(found.st_mode)) return "is not a directory";
  if (found.st_uid != ::geteuid()) return "belongs to user " + std::to_string(found.st_uid);
  if ((found.st_mode & 0777) != 0700) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "0%03o", found.st_mode & 0777);
    return std::string("has mode ") + mode + " and not 0700";
  }
  return {};
}

bool write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

result<private_directory, channel_error> private_directory::open(std::string path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed(path, "mkdir", errno);
  // O_PATH opens a link or a file too, without following or reading it, so that we can say what it
  // is; what was checked is what is used from here on.
  unique_fd fd(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return failed(path, "open", errno);
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return failed(path, "fstat", errno);
  if (const std::string why = objection_to(found); !why.empty()) {
    return channel_error(errc::refused, path + ": " + why);
  }
  return private_directory(std::move(path), std::move(fd));
}

result<std::string, channel_error> private_directory::read(const std::string& name) const {
  const std::string file = path_ + "/" + name;
  // Not blocking: a FIFO of that name must not hold us up.
  const unique_fd fd(
      ::openat(fd_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return channel_error(errc::empty, file + ": no such file");
    return failed(file, "open", errno);
  }
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return failed(file, "fstat", errno);
  if (!S_ISREG(found.st_mode) || found.st_size > static_cast<off_t>(max_file_bytes)) {
    return channel_error(errc::corrupt, file + ": not a small plain file");
  }
  std::string text(max_file_bytes, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(file, "read", errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

// A file of a random name that nobody looks for, to be renamed or linked when it is whole. What a
// crash leaves of it is a few bytes that are never read.
result<std::string, channel_error> private_directory::write_draft(std::string_view text) const {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) {
    return failed(path_, "getrandom", errno);
  }
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), ".draft~%016llx",
                static_cast<unsigned long long>(random));
  const unique_fd fd(
      ::openat(fd_.get(), name.data(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return failed(path_, "create a file", errno);
  if (!write_all(fd.get(), text)) {
    const int why = errno;
    remove(name.data());
    return failed(path_, "write a file", why);
  }
  return std::string(name.data());
}

result<void, channel_error> private_directory::write(const std::string& name,
                                                     std::string_view text) const {
  const auto draft = write_draft(text);
  if (!draft) return draft.error();
  if (::renameat(fd_.get(), draft->c_str(), fd_.get(), name.c_str()) != 0) {
    const int why = errno;
    remove(*draft);
    return failed(path_ + "/" + name, "rename", why);
  }
  return {};
}

result<bool, channel_error> private_directory::create(const std::string& name,
                                                      std::string_view text) const {
  const auto draft = write_draft(text);
  if (!draft) return draft.error();
  // A link, which unlike a rename fails if somebody was faster.
  const int made = ::linkat(fd_.get(), draft->c_str(), fd_.get(), name.c_str(), 0);
  const int why = errno;
  remove(*draft);
  if (made == 0) return true;
  if (why == EEXIST) return false;
  return failed(path_ + "/" + name, "link", why);
}

void private_directory::remove(const std::string& name) const noexcept {
  ::unlinkat(fd_.get(), name.c_str(), 0);
}

}  // namespace ferry
