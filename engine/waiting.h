// Words for waiting that sessions and loops share.
#pragma once

namespace ferry {

// What ended a wait.
enum class woke { input, condition, timeout, over };

// A borrowed callable `bool()`: what a waiter looks for besides input.
struct condition {
  bool (*check)(void* context) = nullptr;
  void* context = nullptr;
  bool operator()() const { return check != nullptr && check(context); }
};

}  // namespace ferry
