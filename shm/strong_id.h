// Integers that cannot be mixed up: two ids of different kinds are two types, and have no
// arithmetic.
#pragma once
#include <compare>

namespace ferry {

template <class Tag, class Rep>
struct strong_id {
  Rep value{};
  friend constexpr auto operator<=>(strong_id, strong_id) = default;
};

}  // namespace ferry
