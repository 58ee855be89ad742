// A directory that only this user can enter, and the small files in it. What lies there was written
// by us: nobody else can plant, replace or read anything.
// Threads   any; also any number of processes of the user: a file appears and changes as a whole.
// Lifetime  owns a descriptor of the directory and looks up every name from there, so that what was
//           checked is what is used. Removes nothing by itself.
// Errors    open: refused, with the reason in words, when what stands at the path is no directory
//           of ours with mode 0700; system.  read: empty when there is no such file; corrupt when
//           it is no plain file of at most max_file_bytes.  write, create: system.
// Source    engine/channel/factory/README.md, "Paths".
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "engine/channel/channel_error.h"
#include "shm/result.h"
#include "shm/unique_fd.h"

namespace ferry {

class private_directory {
 public:
  static constexpr std::size_t max_file_bytes = 4096;

  // Makes the last part of the path if it is missing, never the parts above it.
  static result<private_directory, channel_error> open(std::string path);

  const std::string& path() const noexcept { return path_; }

  // `name` is the name of a file: the caller has seen to it that it holds no '/'.
  result<std::string, channel_error> read(const std::string& name) const;
  // Replaces what was there; a reader sees the old text or the new one.
  result<void, channel_error> write(const std::string& name, std::string_view text) const;
  // False: there was such a file already, which is left alone.
  result<bool, channel_error> create(const std::string& name, std::string_view text) const;
  void remove(const std::string& name) const noexcept;

 private:
  private_directory(std::string path, unique_fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  result<std::string, channel_error> write_draft(std::string_view text) const;

  std::string path_;
  unique_fd fd_;
};

}  // namespace ferry
