#include "tools/examples/file_list.h"

#include <fts.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace ferry::examples {
namespace {

int by_name(const FTSENT** left, const FTSENT** right) {
  return std::strcmp((*left)->fts_name, (*right)->fts_name);
}

// What fts says about an entry that is no file to send.
problem_kind reason_of(const FTSENT& entry) {
  switch (entry.fts_info) {
    case FTS_SL:
    case FTS_SLNONE: return problem_kind::symbolic_link;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
      if (entry.fts_errno == ENOENT) return problem_kind::missing;
      return entry.fts_errno == EACCES ? problem_kind::unreadable : problem_kind::read_error;
    default: return problem_kind::not_regular;
  }
}

}  // namespace

file_list list_named(const std::vector<std::string>& names) {
  file_list out;
  for (const std::string& name : names) {
    struct stat is {};
    const bool known = ::stat(name.c_str(), &is) == 0 && S_ISREG(is.st_mode);
    out.files.push_back({name, known ? static_cast<std::uint64_t>(is.st_size) : 0, true});
  }
  return out;
}

file_list list_beneath(const std::vector<std::string>& roots) {
  file_list out;
  std::vector<char*> paths;
  for (const std::string& root : roots) paths.push_back(const_cast<char*>(root.c_str()));
  paths.push_back(nullptr);
  const std::unique_ptr<FTS, int (*)(FTS*)> walk(
      ::fts_open(paths.data(), FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, by_name), ::fts_close);
  if (!walk) throw std::runtime_error(std::string("fts_open: ") + ::strerrordesc_np(errno));
  while (const FTSENT* entry = ::fts_read(walk.get())) {
    switch (entry->fts_info) {
      case FTS_F:
        out.files.push_back(
            {entry->fts_path, static_cast<std::uint64_t>(entry->fts_statp->st_size), false});
        break;
      case FTS_D:
      case FTS_DP: break;
      default: ++out.skipped[reason_of(*entry)];
    }
  }
  return out;
}

}  // namespace ferry::examples
