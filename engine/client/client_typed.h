// The typed half of client.h: from values to bytes and back, and nothing else.
// Source    engine/README.md, "Calls".
#pragma once
#include "engine/client/client.h"

namespace ferry {
namespace detail {

// The answer as the descriptor's result.
template <class M>
method_result<M> typed_result(call_result&& answer) {
  using value = typename M::result_type;
  if (!answer) return typed_failure<typename M::error_type>(std::move(answer).error());
  if constexpr (std::is_void_v<value>) {
    return {};
  } else {
    auto got = value_in<value>(std::move(*answer));
    if (got) return std::move(*got);
    return typed_failure<typename M::error_type>(
        call_error{errc::internal,
                   std::string("the result does not decode: ") + got.error().message(),
                   true,
                   {}});
  }
}

// As the function declares them, so that an int goes where a double is wanted.
template <class M, class... Args, class Use>
decltype(auto) with_declared(Use&& use, Args&&... args) {
  using declared = typename codec::decoded_args<typename M::args>::type;
  static_assert(std::tuple_size_v<declared> == sizeof...(Args), "another number of arguments");
  declared values(std::forward<Args>(args)...);
  return std::apply([&](auto&... each) { return with_arguments(use, each...); }, values);
}

}  // namespace detail

template <class R, class... Args>
result<R, call_error> client::invoke(function_id function, const Args&... args) {
  static_assert(!holds_view<R>,
                "a view (string_view, span, char*) would outlive the answer that it lies in, also "
                "inside another type: use std::string or std::vector<std::byte>");
  std::byte small[256];
  value_writer writer(small);
  encode_args(writer, args...);
  auto answer = call(function, writer.bytes());
  if (!answer) return std::move(answer).error();
  if constexpr (std::is_void_v<R>) {
    return {};
  } else {
    auto value = decode<R>(answer->bytes());
    if (!value) {
      return call_error{errc::internal,
                        std::string("the result does not decode: ") + value.error().message(),
                        true,
                        {}};
    }
    return std::move(*value);
  }
}

template <class S, class E, class... Args>
method_result<method<S, E>> client::call(const method<S, E>& to, call_options options,
                                         Args&&... args) {
  using M = method<S, E>;
  static_assert(M::kind == method_kind::unary, "this method streams: see server_stream and others");
  const auto function = bind(to, options);
  if (!function) return detail::typed_failure<E>(call_error(function.error()));
  return detail::typed_result<M>(detail::with_declared<M>(
      [&](std::span<const std::byte> bytes, ferry::loan* filled, std::uint8_t flags) {
        return call_filled(*function, bytes, filled, flags, options);
      },
      std::forward<Args>(args)...));
}

template <class S, class E, class F, class... Args>
result<void, call_error> client::call_async(const method<S, E>& to, call_options options, F&& done,
                                            Args&&... args) {
  using M = method<S, E>;
  static_assert(M::kind == method_kind::unary, "this method streams: see server_stream and others");
  const auto function = bind(to, options);
  if (!function) return function.error();
  auto landed = wrap([done = std::forward<F>(done)](call_result&& answer) mutable {
    done(detail::typed_result<M>(std::move(answer)));
  });
  return detail::with_declared<M>(
      [&](std::span<const std::byte> bytes, ferry::loan* filled, std::uint8_t flags) {
        return start(*function, bytes, filled, flags, std::move(landed), options);
      },
      std::forward<Args>(args)...);
}

template <class S, class E, class... Args>
task<method_result<method<S, E>>> client::call_task(const method<S, E>& to, call_options options,
                                                    Args&&... args) {
  static_assert(method<S, E>::kind == method_kind::unary,
                "this method streams: see server_stream and others");
  return await_method<method<S, E>, std::decay_t<Args>...>(impl_, to, options, options.stop.token(),
                                                           std::forward<Args>(args)...);
}

template <class M, class... Args>
task<method_result<M>> client::await_method(std::shared_ptr<impl> self, const M& to,
                                            call_options options, std::stop_token stop,
                                            Args... args) {
  auto function = try_bind_in(*self, to);
  if (!function) function.emplace(co_await await_bind(self, to, options, stop));
  if (!*function) {
    co_return detail::typed_failure<typename M::error_type>(call_error(function->error()));
  }
  // What is encoded lies in this frame until the call has started.
  using declared = typename codec::decoded_args<typename M::args>::type;
  declared values(std::move(args)...);
  const auto await = [&](std::span<const std::byte> bytes, ferry::loan* filled,
                         std::uint8_t flags) {
    return await_call(self, **function, bytes, filled, flags, options, stop);
  };
  using only = std::conditional_t<std::tuple_size_v<declared> == 1, declared, std::tuple<void*>>;
  if constexpr (travels_raw<std::tuple_element_t<0, only>>) {
    co_return detail::typed_result<M>(co_await with_arguments(await, std::get<0>(values)));
  } else {
    std::byte small[256];
    value_writer writer(small);
    std::apply([&](const auto&... each) { encode_args(writer, each...); }, values);
    co_return detail::typed_result<M>(co_await await(writer.bytes(), nullptr, 0));
  }
}

template <class Item, class E, class... P, class... Args>
stream<Item, E> client::server_stream(const method<streamed<Item>(P...), E>& to,
                                      call_options options, Args&&... args) {
  using M = method<streamed<Item>(P...), E>;
  auto core = detail::with_declared<M>(
      [&](std::span<const std::byte> bytes, ferry::loan* filled, std::uint8_t flags) {
        return open_stream(bind(to, options, no_deadline), bytes, filled,
                           static_cast<std::uint8_t>(flags | wants_items), options);
      },
      std::forward<Args>(args)...);
  return {std::move(core), idle(options), errc::internal};
}

template <class R, class Item, class E>
upload<Item, value_or_nothing<R>, E> client::upload(const method<R(streamed<Item>), E>& to,
                                                    call_options options) {
  return {open_stream(bind(to, options, no_deadline), {}, nullptr, sends_items, options),
          idle(options), answer_time(options)};
}

template <class Out, class In, class E>
bidi<In, Out, E> client::open(const method<streamed<Out>(streamed<In>), E>& to,
                              call_options options) {
  return {
      open_stream(bind(to, options, no_deadline), {}, nullptr, sends_items | wants_items, options),
      idle(options)};
}

template <class T>
T client::run(task<T> work) {
  auto driven = loop();
  return driven.run(std::move(work));
}

}  // namespace ferry
