// What a callable takes and returns, from the callable itself: `args` is a std::tuple of its
// parameters as declared, `returned` its result. For functions, function pointers and objects with
// one operator().
#pragma once
#include <tuple>
#include <type_traits>

namespace ferry {

template <class F>
struct signature : signature<decltype(&F::operator())> {};

template <class R, class... A>
struct signature<R(A...)> {
  using returned = R;
  using args = std::tuple<A...>;
};
template <class R, class... A>
struct signature<R (*)(A...)> : signature<R(A...)> {};
template <class R, class... A>
struct signature<R (*)(A...) noexcept> : signature<R(A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...)> : signature<R(A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) const> : signature<R(A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) noexcept> : signature<R(A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) const noexcept> : signature<R(A...)> {};

}  // namespace ferry
