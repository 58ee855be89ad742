// A function as both sides know it: its name, its C++ types and whether it streams.
//
//   inline const ferry::method<int(int, int)> add{"add"};
//   inline const ferry::method<streamed<line>(std::string), not_found> read_lines{"read_lines"};
//
// Shapes    R(Args...)                  one answer
//           streamed<Item>(Args...)     one request, a stream of items
//           R(streamed<Item>)           a stream of items, one answer
//           streamed<Out>(streamed<In>) a stream each way
//           The second parameter is what an error of the function carries; void: nothing.
// Threads   any; a descriptor does not change.
// Lifetime  the name is borrowed: use a literal.
// Source    engine/README.md, "Methods".
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "shm/result.h"

namespace ferry {

enum class method_kind { unary, server_stream, client_stream, bidirectional };

template <class T>
struct streamed;  // only ever named

// How a call of a function with errors of type E failed. `detail` is empty when the failure was not
// the function's own: a timeout, a dead worker.
template <class E>
struct typed_error : call_error {
  std::optional<E> detail;
};

// A method without its types: what a table of functions needs.
class method_key {
 public:
  constexpr explicit method_key(std::string_view name) noexcept : name_(name) {}
  method_key(const method_key&) = delete;
  method_key& operator=(const method_key&) = delete;

  constexpr std::string_view name() const noexcept { return name_; }

  // A small number of this object alone in this process, given at first use: an index for what
  // somebody remembers about it. Two objects with one name have two numbers. Lock-free.
  std::uint32_t slot() const noexcept {
    // relaxed: the number stands for itself.
    const std::uint32_t known = slot_.load(std::memory_order_relaxed);
    return known != 0 ? known - 1 : assign_slot();
  }

 private:
  std::uint32_t assign_slot() const noexcept {
    const std::uint32_t fresh = last_slot_.fetch_add(1, std::memory_order_relaxed) + 1;
    std::uint32_t seen = 0;
    // The first of racing threads gives the number; those of the others stay unused.
    if (slot_.compare_exchange_strong(seen, fresh, std::memory_order_relaxed)) return fresh - 1;
    return seen - 1;
  }

  // Of the process, since descriptors are: they are made before main() could pass them anything.
  inline static constinit std::atomic<std::uint32_t> last_slot_{0};

  std::string_view name_;
  mutable std::atomic<std::uint32_t> slot_{0};  // the number + 1; 0: none yet
};

namespace detail {

template <class T>
inline constexpr bool is_streamed = false;
template <class T>
inline constexpr bool is_streamed<streamed<T>> = true;
template <class T>
inline constexpr bool is_any_result = false;
template <class T, class E>
inline constexpr bool is_any_result<result<T, E>> = true;

template <class T>
inline constexpr bool never = false;

// By value or by const reference.
template <class T>
inline constexpr bool travels_in =
    !std::is_reference_v<T> ||
    (std::is_lvalue_reference_v<T> && std::is_const_v<std::remove_reference_t<T>>);

template <class T>
struct checked_value {
  static_assert(!std::is_reference_v<T>, "what a method answers or streams travels by value");
  static_assert(!is_streamed<T>, "a stream of streams does not exist");
  static_assert(!is_any_result<T>,
                "every call may fail: write the plain type, and the error as method's second "
                "parameter");
  using type = T;
};
template <class T>
struct checked_item : checked_value<T> {
  static_assert(!std::is_void_v<T>, "a stream of nothing: name the type of its items");
};

template <method_kind Kind, class Result, class Args, class Item, class RequestItem>
struct method_types {
  static constexpr method_kind kind = Kind;
  using result_type = Result;
  using args = Args;
  using item = Item;
  using request_item = RequestItem;
};

template <class Signature>
struct method_shape {
  static_assert(never<Signature>,
                "a method's signature is R(Args...), streamed<Item>(Args...), R(streamed<Item>) or "
                "streamed<Out>(streamed<In>)");
};
template <class R, class... A>
struct method_shape<R(A...)> : method_types<method_kind::unary, typename checked_value<R>::type,
                                            std::tuple<A...>, void, void> {
  static_assert((!is_streamed<std::decay_t<A>> && ...),
                "a method that takes a stream takes nothing else, and takes it by value");
  static_assert((travels_in<A> && ...),
                "nothing comes back in an argument: take it by value or by "
                "const reference");
};
template <class Item, class... A>
struct method_shape<streamed<Item>(A...)>
    : method_types<method_kind::server_stream, void, std::tuple<A...>,
                   typename checked_item<Item>::type, void> {
  static_assert((!is_streamed<std::decay_t<A>> && ...),
                "a method that takes a stream takes nothing else, and takes it by value");
  static_assert((travels_in<A> && ...),
                "nothing comes back in an argument: take it by value or by "
                "const reference");
};
template <class R, class Item>
struct method_shape<R(streamed<Item>)>
    : method_types<method_kind::client_stream, typename checked_value<R>::type, std::tuple<>, void,
                   typename checked_item<Item>::type> {};
template <class Out, class In>
struct method_shape<streamed<Out>(streamed<In>)>
    : method_types<method_kind::bidirectional, void, std::tuple<>, typename checked_item<Out>::type,
                   typename checked_item<In>::type> {};

template <class E>
struct method_error {
  static_assert(!std::is_reference_v<E>, "an error's detail travels by value");
  using type = typed_error<E>;
};
template <>
struct method_error<void> {
  using type = call_error;
};

}  // namespace detail

// Types that a shape does not have are void: `result_type` of what answers with a stream, `item`
// (what comes back) and `request_item` (what is sent) where nothing streams that way. `args` are
// the parameters as declared, without streams.
template <class Signature, class Error = void>
struct method : method_key, detail::method_shape<Signature> {
  using error_type = Error;
  using method_key::method_key;
};

template <class M>
using method_error = typename detail::method_error<typename M::error_type>::type;
template <class M>
using method_result = result<typename M::result_type, method_error<M>>;

}  // namespace ferry
