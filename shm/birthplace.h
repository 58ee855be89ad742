// Whether this process is the one that made an object, or was forked from it: a forked child shares
// its parent's descriptors but not its mappings, so it must not act on what its parent holds.
// Threads   any. Cost  a load and a comparison.
// Limits    a child made by a bare clone() or vfork(), without the C library's fork(), is not seen.
#pragma once
#include <atomic>
#include <cstdint>

namespace ferry {

namespace detail {
// Counts the forks that led to this process; of the process, as fork() is.
inline constinit std::atomic<std::uint32_t> forks{0};
std::uint32_t watched_forks() noexcept;  // starts counting
}  // namespace detail

class birthplace {
 public:
  birthplace() noexcept : forks_(detail::watched_forks()) {}
  bool left() const noexcept { return detail::forks.load(std::memory_order_relaxed) != forks_; }

 private:
  std::uint32_t forks_;
};

}  // namespace ferry
