// Words for waiting that sessions and loops share.
#pragma once
#include <chrono>
#include <optional>

namespace ferry {

// What ended a wait.
enum class woke { input, condition, timeout, over };

// max(): there is no such time.
inline std::optional<std::chrono::steady_clock::time_point> bound(
    std::chrono::steady_clock::time_point when) {
  if (when == std::chrono::steady_clock::time_point::max()) return std::nullopt;
  return when;
}

// A borrowed callable `bool()`: what a waiter looks for besides input.
struct condition {
  bool (*check)(void* context) = nullptr;
  void* context = nullptr;
  bool operator()() const { return check != nullptr && check(context); }
};

}  // namespace ferry
