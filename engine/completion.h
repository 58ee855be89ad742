// What to do when a call ends: a move-only callable kept in place, so that a call allocates
// nothing.
// Threads   a plain value; whoever completes the call invokes it, once.
// Source    engine/README.md, "Calls".
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "engine/body.h"
#include "ring/record.h"
#include "shm/result.h"

namespace ferry {

using call_result = result<body, call_error>;

class completion {
 public:
  // Callables up to this size (and nothrow-movable) lie in place; larger ones on the heap.
  static constexpr std::size_t inplace_bytes = 64;

  completion() = default;
  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, completion>) explicit completion(F&& call) {
    emplace(std::forward<F>(call));
  }
  // In place of an empty one.
  template <class F>
  void emplace(F&& call) {
    using callable = std::decay_t<F>;
    if constexpr (std::is_same_v<callable, completion>) {
      *this = std::forward<F>(call);
    } else if constexpr (fits<callable>) {
      new (storage_) callable(std::forward<F>(call));
      table_ = &inplace_table<callable>;
    } else {
      new (storage_) callable*(new callable(std::forward<F>(call)));
      table_ = &heap_table<callable>;
    }
  }
  completion(completion&& other) noexcept : table_(std::exchange(other.table_, nullptr)) {
    if (table_ != nullptr) table_->move(storage_, other.storage_);
  }
  completion& operator=(completion&& other) noexcept {
    if (this != &other) {
      reset();
      table_ = std::exchange(other.table_, nullptr);
      if (table_ != nullptr) table_->move(storage_, other.storage_);
    }
    return *this;
  }
  ~completion() { reset(); }

  // Invokes the callable as f(const record_fields* answer, body&& content, call_error* why). `why`:
  // null for a result, which is `content`; otherwise the failure, to be moved from. `answer`: the
  // record that ended the call, or null if this side ended it.
  void operator()(const record_fields* answer, body&& content, call_error* why) {
    table_->invoke(storage_, answer, std::move(content), why);
  }
  void reset() noexcept {
    if (table_ != nullptr && table_->destroy != nullptr) table_->destroy(storage_);
    table_ = nullptr;
  }

 private:
  struct table {
    void (*invoke)(std::byte*, const record_fields*, body&&, call_error*);
    void (*move)(std::byte* to, std::byte* from) noexcept;
    void (*destroy)(std::byte*) noexcept;  // null: nothing to do
  };
  template <class F>
  static constexpr bool fits =
      sizeof(F) <= inplace_bytes &&
      alignof(F) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<F>;
  template <class F>
  static F& in(std::byte* storage) {
    return *std::launder(reinterpret_cast<F*>(storage));
  }
  template <class F>
  static constexpr table inplace_table{
      [](std::byte* at, const record_fields* answer, body&& content, call_error* why) {
        in<F>(at)(answer, std::move(content), why);
      },
      [](std::byte* to, std::byte* from) noexcept {
        new (to) F(std::move(in<F>(from)));
        in<F>(from).~F();
      },
      std::is_trivially_destructible_v<F> ? nullptr
                                          : +[](std::byte* at) noexcept { in<F>(at).~F(); }};
  template <class F>
  static constexpr table heap_table{
      [](std::byte* at, const record_fields* answer, body&& content, call_error* why) {
        (*in<F*>(at))(answer, std::move(content), why);
      },
      [](std::byte* to, std::byte* from) noexcept { new (to) F*(in<F*>(from)); },
      [](std::byte* at) noexcept { delete in<F*>(at); }};

  const table* table_ = nullptr;
  alignas(std::max_align_t) std::byte storage_[inplace_bytes];
};

}  // namespace ferry
