// A callable that moves and never copies, kept in place while it is small: what std::function would
// be without its copies and, for most callables, without the heap.
// Threads   a plain value.
// Errors    invoking an empty one is a broken precondition (CHECK).
// Source    engine/README.md, "Calls".
#pragma once
#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "shm/check.h"

namespace ferry {

template <class Signature>
class unique_function;

template <class R, class... Args>
class unique_function<R(Args...)> {
 public:
  // Callables up to this size (and nothrow-movable) lie in place; larger ones on the heap.
  static constexpr std::size_t inplace_bytes = 64;

  unique_function() = default;
  template <class F>
  requires(!std::same_as<std::decay_t<F>, unique_function> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>) unique_function(F&& call) {
    emplace(std::forward<F>(call));
  }
  // In place of an empty one.
  template <class F>
  void emplace(F&& call) {
    using callable = std::decay_t<F>;
    if constexpr (std::is_same_v<callable, unique_function>) {
      *this = std::forward<F>(call);
    } else if constexpr (fits<callable>) {
      new (storage_) callable(std::forward<F>(call));
      table_ = &inplace_table<callable>;
    } else {
      new (storage_) callable*(new callable(std::forward<F>(call)));
      table_ = &heap_table<callable>;
    }
  }
  unique_function(unique_function&& other) noexcept { take(other); }
  unique_function& operator=(unique_function&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~unique_function() { reset(); }

  explicit operator bool() const noexcept { return table_ != nullptr; }
  R operator()(Args... args) {
    FERRY_CHECK(table_ != nullptr);
    return table_->invoke(storage_, std::forward<Args>(args)...);
  }
  void reset() noexcept {
    // Empty before the destructor runs, which may look at us again.
    const table* const old = std::exchange(table_, nullptr);
    if (old != nullptr && old->destroy != nullptr) old->destroy(storage_);
  }

 private:
  struct table {
    R (*invoke)(std::byte*, Args&&...);
    void (*move)(std::byte* to, std::byte* from) noexcept;  // null: its bytes are all of it
    void (*destroy)(std::byte*) noexcept;                   // null: nothing to do
  };
  void take(unique_function& other) noexcept {
    table_ = std::exchange(other.table_, nullptr);
    if (table_ == nullptr) return;
    if (table_->move != nullptr) {
      table_->move(storage_, other.storage_);
    } else {
      std::memcpy(storage_, other.storage_, inplace_bytes);
    }
  }
  template <class F>
  static constexpr bool fits =
      sizeof(F) <= inplace_bytes &&
      alignof(F) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<F>;
  template <class F>
  static F& in(std::byte* storage) {
    return *std::launder(reinterpret_cast<F*>(storage));
  }
  template <class F>
  static R run(F& call, Args&&... args) {
    if constexpr (std::is_void_v<R>) {
      call(std::forward<Args>(args)...);
    } else {
      return call(std::forward<Args>(args)...);
    }
  }
  template <class F>
  static constexpr table inplace_table{[](std::byte* at, Args&&... args) -> R {
                                         return run(in<F>(at), std::forward<Args>(args)...);
                                       },
                                       std::is_trivially_copyable_v<F>
                                           ? nullptr
                                           : +[](std::byte* to, std::byte* from) noexcept {
                                               new (to) F(std::move(in<F>(from)));
                                               in<F>(from).~F();
                                             },
                                       std::is_trivially_destructible_v<F>
                                           ? nullptr
                                           : +[](std::byte* at) noexcept { in<F>(at).~F(); }};
  template <class F>
  static constexpr table heap_table{[](std::byte* at, Args&&... args) -> R {
                                      return run(*in<F*>(at), std::forward<Args>(args)...);
                                    },
                                    nullptr, [](std::byte* at) noexcept { delete in<F*>(at); }};

  const table* table_ = nullptr;
  alignas(std::max_align_t) std::byte storage_[inplace_bytes];
};

}  // namespace ferry
