// How the values of a call, a result or an item travel: bytes as they are, all else as MessagePack.
// Raw types  body (read), loan (written in place), std::span<const std::byte> (copied).
//            They travel raw where they stand alone: as the only argument of a descriptor's
//            call, as an item; body and loan also as a result.
// Lifetime   what is decoded from a body must hold no view (holds_view.h): it would outlive the
//            bytes. Arguments to a function may.
#pragma once
#include <type_traits>
#include <utility>
#include <variant>

#include "engine/body.h"
#include "engine/codec/holds_view.h"
#include "engine/codec/typed.h"
#include "ring/record.h"

namespace ferry {

template <class T>
inline constexpr bool travels_raw =
    std::is_same_v<T, body> || std::is_same_v<T, loan> ||
    std::is_same_v<T, std::span<const std::byte>> || std::is_same_v<T, std::span<std::byte>>;

// The value of an answer that has none.
template <class T>
using value_or_nothing = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// `use(std::span<const std::byte>, loan*)` gets the bytes of `value`; the loan is set if they lie
// in one.
// Results of these types are bytes as they are; a span is MessagePack's binary, as a vector is.
template <class T>
inline constexpr bool answers_raw = std::is_same_v<T, body> || std::is_same_v<T, loan>;

template <class T, class Use>
decltype(auto) with_bytes(T&& value, Use&& use) {
  using plain = std::decay_t<T>;
  if constexpr (std::is_same_v<plain, loan>) {
    return use(std::span<const std::byte>(), &value);
  } else if constexpr (std::is_same_v<plain, body>) {
    return use(value.bytes(), static_cast<loan*>(nullptr));
  } else if constexpr (travels_raw<plain>) {
    return use(std::span<const std::byte>(value), static_cast<loan*>(nullptr));
  } else {
    std::byte small[512];
    value_writer writer(small);
    encode(writer, value);
    return use(writer.bytes(), static_cast<loan*>(nullptr));
  }
}

template <class T>
result<T> value_in(body&& content) {
  static_assert(!holds_view<T>,
                "a view (string_view, span, char*) would outlive the bytes that it lies in, also "
                "inside another type: use std::string, std::vector<std::byte> or body");
  if constexpr (std::is_same_v<T, body>) {
    return std::move(content);
  } else if constexpr (std::is_same_v<T, std::monostate>) {
    return T();  // an answer that says nothing but that it came
  } else {
    return decode<T>(content.bytes());
  }
}

// The arguments of a call as its function declares them: one raw one as it is, else MessagePack.
// `use(std::span<const std::byte>, loan*, std::uint8_t flags)`: flags for the call's record.
template <class... Args, class Use>
decltype(auto) with_arguments(Use&& use, Args&... args) {
  if constexpr (sizeof...(Args) == 1 && (travels_raw<std::decay_t<Args>> && ...)) {
    return with_bytes(args..., [&](std::span<const std::byte> bytes, loan* filled) {
      return use(bytes, filled, std::uint8_t{raw_argument});
    });
  } else {
    std::byte small[256];
    value_writer writer(small);
    encode_args(writer, args...);
    return use(writer.bytes(), static_cast<loan*>(nullptr), std::uint8_t{0});
  }
}

}  // namespace ferry
