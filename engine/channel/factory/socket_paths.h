// Where the Unix sockets of instances lie: for each instance and each kind of socket one path, in a
// directory that nobody else can enter.
//
//   auto paths = socket_paths::open();
//   auto path = paths->path_for(*runtime_instance_id::parse("blue:process:job-7"));
//   // $XDG_RUNTIME_DIR/ferry/blue-process-job~7.sock
//
// Layout    name.sock, where name is file_name_of(instance). If the path would be longer than a
//           sun_path allows: hash~<32 digits>.sock, and beside it hash~<32 digits>.id, which holds
//           the full id, so that a collision is found and refused instead of shared.
// Units     max_path_bytes counts bytes without the terminating zero.
// Threads   any; also any number of processes of the user.
// Lifetime  a value; copies share the directory. Makes no socket and removes none; a side file
//           stays until release().
// Errors    open: as private_directory.h; limit: even a hash has no room under this directory.
//           path_for: refused: another instance has this hash.  invalid_configuration: an ending
//           that is none.  system.
// Source    engine/channel/factory/README.md, "Paths".
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "engine/channel/factory/instance_names.h"
#include "engine/channel/factory/private_directory.h"

namespace ferry {

// What the environment says about where to put sockets.
struct socket_place {
  // $XDG_RUNTIME_DIR; the directory is `ferry` in it. Ignored, as if unset, when it is not an
  // absolute path to a directory of ours: it may be left over from another user's session.
  std::string runtime_dir;
  std::string temp_dir = "/tmp";  // else ferry-<uid> in here

  static socket_place from_environment();
};

class socket_paths {
 public:
  static constexpr std::size_t max_path_bytes = 107;
  static constexpr std::string_view stream_ending = ".sock";  // of transport "unix"
  static constexpr std::string_view packet_ending = ".shm";   // of transport "shm+unix"
  using hash_function = std::string (*)(std::string_view);

  // Makes the directory if it is missing.
  static result<socket_paths, channel_error> open(
      const socket_place& where = socket_place::from_environment(),
      hash_function hash = &name_hash);

  const private_directory& directory() const noexcept { return *directory_; }

  // `ending` tells the kinds of sockets of one instance apart: a dot and 1 to 15 of [a-z0-9].
  result<std::string, channel_error> path_for(const runtime_instance_id& instance,
                                              std::string_view ending = stream_ending) const;
  // The instance will not come back: removes its side file, if it has one.
  void release(const runtime_instance_id& instance) const;

 private:
  socket_paths(std::shared_ptr<const private_directory> directory, hash_function hash)
      : directory_(std::move(directory)), hash_(hash) {}
  result<void, channel_error> claim(const std::string& hashed, const std::string& full_id) const;

  std::shared_ptr<const private_directory> directory_;
  hash_function hash_;
};

}  // namespace ferry
