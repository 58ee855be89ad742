// Whether a value that was decoded is a view into the bytes it came from, or has one inside: in a
// container, a pair, a tuple or a struct. Such a value must not outlive those bytes, so it may be
// the argument of a function, which has them, but never a result, an item or an error's detail.
// Limits    a type with a value_codec of its own is taken at its word: it holds none.
// Source    engine/codec/README.md.
#pragma once
#include <type_traits>

#include "engine/codec/typed.h"

namespace ferry {
namespace codec {

template <class T>
struct parts_of {  // types inside T, as a list; none that we know of
  template <template <class...> class Into>
  using into = Into<>;
};
template <class... T>
struct these_parts {
  template <template <class...> class Into>
  using into = Into<std::remove_cvref_t<T>...>;
};
template <class T>
struct parts_of<std::vector<T>> : these_parts<T> {};
template <class T, std::size_t N>
struct parts_of<std::array<T, N>> : these_parts<T> {};
template <class T>
struct parts_of<std::optional<T>> : these_parts<T> {};
template <class First, class Second>
struct parts_of<std::pair<First, Second>> : these_parts<First, Second> {};
template <class... T>
struct parts_of<std::tuple<T...>> : these_parts<T...> {};
template <class K, class V>
struct parts_of<std::map<K, V>> : these_parts<K, V> {};
template <class K, class V>
struct parts_of<std::unordered_map<K, V>> : these_parts<K, V> {};
template <has_fields T>
struct parts_of<T> : parts_of<std::remove_cvref_t<decltype(T::ferry_fields(std::declval<T&>()))>> {
};

template <class T>
inline constexpr bool is_bare_view = std::is_pointer_v<T>;
template <>
inline constexpr bool is_bare_view<std::string_view> = true;
template <class T, std::size_t N>
inline constexpr bool is_bare_view<std::span<T, N>> = true;

// `Outer`: those around it, since a type may contain itself.
template <class T, class... Outer>
struct view_inside {
  template <class... Parts>
  struct among : std::bool_constant<(view_inside<Parts, T, Outer...>::value() || ...)> {};
  static constexpr bool value() {
    if constexpr (is_bare_view<T>) {
      return true;
    } else if constexpr ((std::is_same_v<T, Outer> || ...)) {
      return false;
    } else {
      return parts_of<T>::template into<among>::value;
    }
  }
};

}  // namespace codec

template <class T>
inline constexpr bool holds_view = codec::view_inside<std::remove_cvref_t<T>>::value();

}  // namespace ferry
