// A value or the reason why there is none: the part of std::expected that we need, so that
// swapping later is easy (g++ 12 has no <expected> in C++20).
// Threads   a plain value.
// Errors    reading the value of a failed result, or the error of a good one, is a bug: CHECK aborts.
#pragma once
#include <optional>
#include <utility>
#include <variant>

#include "shm/check.h"
#include "shm/error.h"

namespace ferry {

template <class T, class E = error>
class [[nodiscard]] result {
 public:
  using value_type = T;
  using error_type = E;

  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // implicit: `return v;`
  result(E why) : state_(std::in_place_index<1>, std::move(why)) {}      // implicit: `return e;`

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  T& value() & {
    FERRY_CHECK(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    FERRY_CHECK(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& value() && { return std::move(value()); }
  T value_or(T other) const& { return has_value() ? value() : std::move(other); }

  const E& error() const& {
    FERRY_CHECK(!has_value());
    return *std::get_if<1>(&state_);
  }
  E&& error() && {
    FERRY_CHECK(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, E> state_;
};

template <class E>
class [[nodiscard]] result<void, E> {
 public:
  using value_type = void;
  using error_type = E;

  result() = default;
  result(E why) : why_(std::move(why)) {}

  bool has_value() const noexcept { return !why_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  const E& error() const& {
    FERRY_CHECK(why_.has_value());
    return *why_;
  }

 private:
  std::optional<E> why_;
};

}  // namespace ferry
