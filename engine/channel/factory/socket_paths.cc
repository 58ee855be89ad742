#include "engine/channel/factory/socket_paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace ferry {
namespace {

constexpr std::string_view hash_prefix = "hash~";  // no '-': file_name_of() never gives such a name
constexpr std::size_t max_ending_bytes = 16;
constexpr std::size_t hash_digits = 32;
constexpr std::size_t longest_hashed_name = hash_prefix.size() + hash_digits + max_ending_bytes;

bool is_directory_of_ours(const std::string& path) {
  struct stat found {};
  return path.starts_with('/') && ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
         found.st_uid == ::geteuid();
}

std::string in_folder(std::string folder, const std::string& name) {
  while (folder.ends_with('/')) folder.pop_back();
  return folder.append("/").append(name);
}

// One dot only: ids may hold dots, so the last one must be where the ending begins.
bool is_ending(std::string_view text) {
  return text.size() >= 2 && text.size() <= max_ending_bytes && text[0] == '.' && text != ".id" &&
         std::ranges::all_of(text.substr(1), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

}  // namespace

socket_place socket_place::from_environment() {
  socket_place where;
  if (const char* const set = std::getenv("XDG_RUNTIME_DIR")) where.runtime_dir = set;
  return where;
}

result<socket_paths, channel_error> socket_paths::open(const socket_place& where,
                                                       hash_function hash) {
  std::string path = is_directory_of_ours(where.runtime_dir)
                         ? in_folder(where.runtime_dir, "ferry")
                         : in_folder(where.temp_dir, "ferry-" + std::to_string(::geteuid()));
  if (path.size() + 1 + longest_hashed_name > max_path_bytes) {
    return channel_error(errc::limit, path + ": too long a directory for the paths of sockets");
  }
  auto directory = private_directory::open(std::move(path));
  if (!directory) return std::move(directory).error();
  return socket_paths(std::make_shared<const private_directory>(std::move(*directory)), hash);
}

result<std::string, channel_error> socket_paths::path_for(const runtime_instance_id& instance,
                                                          std::string_view ending) const {
  if (!is_ending(ending)) {
    return channel_error(errc::invalid_configuration,
                         "an ending of a socket's name that is not a dot and 1 to 15 of a-z0-9");
  }
  const std::string plain = directory_->path() + "/" + file_name_of(instance).append(ending);
  if (plain.size() <= max_path_bytes) return plain;
  const std::string full_id = instance.full_id();
  const std::string hashed = std::string(hash_prefix) + hash_(full_id);
  if (const auto ours = claim(hashed, full_id); !ours) return ours.error();
  return directory_->path() + "/" + std::string(hashed).append(ending);
}

result<void, channel_error> socket_paths::claim(const std::string& hashed,
                                                const std::string& full_id) const {
  const std::string side_file = hashed + ".id";
  // Looks first: all calls but the first find the file. Whoever loses the race to create it, and
  // whoever finds it gone after that (a release), looks again.
  for (int look = 0; look < 3; ++look) {
    const auto holder = directory_->read(side_file);
    if (holder) {
      if (*holder == full_id) return {};
      return channel_error(errc::refused, full_id + ": its socket would have the name " + hashed +
                                              ", which stands for " + *holder);
    }
    if (holder.error().code != errc::empty) return holder.error();
    const auto created = directory_->create(side_file, full_id);
    if (!created) return created.error();
    if (*created) return {};
  }
  return channel_error(errc::refused, hashed + ".id comes and goes");
}

void socket_paths::release(const runtime_instance_id& instance) const {
  const std::string full_id = instance.full_id();
  const std::string side_file = std::string(hash_prefix) + hash_(full_id) + ".id";
  const auto holder = directory_->read(side_file);
  if (holder && *holder == full_id) directory_->remove(side_file);
}

}  // namespace ferry
