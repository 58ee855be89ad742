// A value or the reason why there is none: the part of std::expected that we need, so that
// swapping later is easy (g++ 12 has no <expected> in C++20).
// Threads   a plain value.
// Errors    reading the value of a failed result, or the error of a good one, is a bug: CHECK
//           aborts.
#pragma once
#include <memory>
#include <optional>
#include <utility>

#include "shm/check.h"
#include "shm/error.h"

namespace ferry {

// A union and a flag, where std::variant would cost an indirect call per move and per destruction.
template <class T, class E = error>
class [[nodiscard]] result {
 public:
  using value_type = T;
  using error_type = E;

  // Implicit: `return v;`. Two, since by value a large one would move twice.
  result(const T& value) : value_(value), has_value_(true) {}
  result(T&& value) : value_(std::move(value)), has_value_(true) {}
  result(E why) : error_(std::move(why)), has_value_(false) {}  // implicit: `return e;`
  result(const result& other) : has_value_(other.has_value_) { construct(other); }
  result(result&& other) noexcept : has_value_(other.has_value_) { construct(std::move(other)); }
  result& operator=(const result& other) {
    if (this != &other) *this = result(other);
    return *this;
  }
  result& operator=(result&& other) noexcept {
    if (this != &other) {
      destroy();
      has_value_ = other.has_value_;
      construct(std::move(other));
    }
    return *this;
  }
  ~result() { destroy(); }

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  T& value() & {
    FERRY_CHECK(has_value_);
    return value_;
  }
  const T& value() const& {
    FERRY_CHECK(has_value_);
    return value_;
  }
  T&& value() && { return std::move(value()); }
  T value_or(T other) const& { return has_value_ ? value_ : std::move(other); }

  const E& error() const& {
    FERRY_CHECK(!has_value_);
    return error_;
  }
  E&& error() && {
    FERRY_CHECK(!has_value_);
    return std::move(error_);
  }

 private:
  template <class Other>
  void construct(Other&& other) {
    if (has_value_) {
      std::construct_at(&value_, std::forward<Other>(other).value_);
    } else {
      std::construct_at(&error_, std::forward<Other>(other).error_);
    }
  }
  void destroy() noexcept {
    if (has_value_) {
      std::destroy_at(&value_);
    } else {
      std::destroy_at(&error_);
    }
  }

  union {
    T value_;
    E error_;
  };
  bool has_value_;
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
