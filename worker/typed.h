// From a C++ callable to a handler: what its parameters mean, and how its result is answered.
// Parameters  [context&,] values... [, stream<In>&] [, sink<Out>&]
//             values are decoded from the argument; a single body or span is the argument itself.
// Results     void, a value, result<value, E>, or a task<> of these. An E that is no call_error or
//             error travels as the function's own error.
// Source      worker/README.md, "Functions".
#pragma once
#include <tuple>

#include "engine/coro/task.h"
#include "worker/context.h"
#include "worker/handler.h"
#include "worker/signature.h"

namespace ferry::detail {

template <class T>
inline constexpr bool is_sink = false;
template <class T>
inline constexpr bool is_sink<sink<T>&> = true;
template <class T>
inline constexpr bool is_stream = false;
template <class T>
inline constexpr bool is_stream<stream<T>&> = true;
template <class T>
struct item_of;
template <class T>
struct item_of<sink<T>&> {
  using type = T;
};
template <class T>
struct item_of<stream<T>&> {
  using type = T;
};

template <class T>
struct awaited {
  using type = T;
  static constexpr bool is_task = false;
};
template <class T>
struct awaited<task<T>> {
  using type = T;
  static constexpr bool is_task = true;
};

template <class T>
struct answer_of {
  using value = T;
  using failure = void;
};
template <class T, class E>
struct answer_of<result<T, E>> {
  using value = T;
  using failure = E;
};

// What is sent as a Sent is read as a Read.
template <class Sent, class Read>
constexpr bool answers_as_it_is() {
  if constexpr (std::is_void_v<Sent> || std::is_void_v<Read>) {
    return std::is_void_v<Sent> && std::is_void_v<Read>;
  } else if constexpr (answers_raw<Read>) {
    return answers_raw<Sent>;
  } else if constexpr (std::is_arithmetic_v<Read> && std::is_arithmetic_v<Sent>) {
    return std::is_same_v<Read, bool> == std::is_same_v<Sent, bool> &&
           (std::is_floating_point_v<Read> || std::is_integral_v<Sent>);
  } else if constexpr (std::is_convertible_v<const Sent&, std::string_view>) {
    return std::is_convertible_v<const Read&, std::string_view>;
  } else {
    return std::is_same_v<Sent, Read>;
  }
}
template <class Sent, class Read>
inline constexpr bool answers_as = answers_as_it_is<Sent, Read>();
// An error without a type of its own fits every method.
template <class Failure, class E>
inline constexpr bool fails_as =
    std::is_void_v<Failure> || std::is_same_v<Failure, E> || std::is_same_v<Failure, error> ||
    std::is_same_v<Failure, call_error> || std::is_same_v<Failure, typed_error<E>>;

// The parameters [Begin, End) of a tuple, decayed.
template <class Tuple, std::size_t Begin, class Indices>
struct slice;
template <class Tuple, std::size_t Begin, std::size_t... I>
struct slice<Tuple, Begin, std::index_sequence<I...>> {
  using type = std::tuple<std::decay_t<std::tuple_element_t<Begin + I, Tuple>>...>;
};

template <class F>
struct callable {
  using declared = typename signature<F>::args;
  using returned = typename awaited<typename signature<F>::returned>::type;
  static constexpr bool coroutine = awaited<typename signature<F>::returned>::is_task;
  static constexpr std::size_t count = std::tuple_size_v<declared>;

  template <std::size_t I>
  static constexpr auto at() {
    if constexpr (I < count) {
      return std::type_identity<std::tuple_element_t<I, declared>>();
    } else {
      return std::type_identity<void>();
    }
  }
  template <std::size_t I>
  using parameter = typename decltype(at<I>())::type;

  static constexpr bool wants_context = std::is_same_v<parameter<0>, context&>;
  static constexpr bool writes = is_sink<parameter<count - 1>>;  // count 0: wraps to no parameter
  static constexpr std::size_t before_sink = writes ? count - 1 : count;
  static constexpr bool reads = is_stream<parameter<before_sink - 1>>;
  static constexpr std::size_t first = wants_context ? 1 : 0;
  static constexpr std::size_t last = reads ? before_sink - 1 : before_sink;
  using values = typename slice<declared, first, std::make_index_sequence<last - first>>::type;

  static constexpr method_kind kind =
      reads ? (writes ? method_kind::bidirectional : method_kind::client_stream)
            : (writes ? method_kind::server_stream : method_kind::unary);
  template <class T, bool Has>
  static constexpr auto item_type() {
    if constexpr (Has) {
      return std::type_identity<typename item_of<T>::type>();
    } else {
      return std::type_identity<void>();
    }
  }
  using sent_item = typename decltype(item_type<parameter<count - 1>, writes>())::type;
  using taken_item = typename decltype(item_type<parameter<before_sink - 1>, reads>())::type;
  // Of what is returned: the value, and the error of a result<>; void: there is none.
  using answer = typename answer_of<returned>::value;
  using failure = typename answer_of<returned>::failure;
  static_assert(!reads || std::tuple_size_v<values> == 0,
                "a function that takes a stream takes no other values");
};

// --- arguments ----------------------------------------------------------------------------------

template <class Values>
result<Values> values_in(const context& call, body& argument) {
  if constexpr (std::tuple_size_v<Values> == 0) {
    (void)call;
    if (argument.empty())
      return Values();  // nobody encodes nothing, and an empty array is fine too
    return decode_args<Values>(argument.bytes());
  } else if constexpr (std::is_same_v<Values, std::tuple<body>>) {
    return Values(std::move(argument));
  } else if constexpr (std::is_same_v<Values, std::tuple<std::span<const std::byte>>>) {
    if (call.raw_argument()) return Values(argument.bytes());
    return decode_args<Values>(argument.bytes());
  } else {
    return decode_args<Values>(argument.bytes());
  }
}

// --- answers ------------------------------------------------------------------------------------

template <class E>
void answer_error(context& call, const E& why) {
  // A failure to send has ended the session or the call already: there is nobody left to tell.
  if constexpr (std::is_same_v<E, error>) {
    (void)call.fail(why.code, why.message());
  } else if constexpr (std::is_same_v<call_error, E>) {
    (void)call.fail(why);
  } else if constexpr (std::is_base_of_v<call_error, E>) {  // a typed_error that is passed on
    if (const call_error& as_came = why; !why.detail || !as_came.detail.empty()) {
      (void)call.fail(as_came);
    } else {
      (void)call.fail_with(why.code, why.text, *why.detail);
    }
  } else if constexpr (requires { std::string_view(why.message()); }) {
    (void)call.fail_with(errc::execution_failed, why.message(), why);
  } else {
    (void)call.fail_with(errc::execution_failed, "the function failed", why);
  }
}

template <class T>
void answer_value(context& call, T& value) {
  if constexpr (is_any_result<T>) {
    if (!value) return answer_error(call, value.error());
    if constexpr (std::is_void_v<typename T::value_type>) {
      (void)call.reply(std::span<const std::byte>());
    } else {
      answer_value(call, *value);
    }
  } else if constexpr (std::is_same_v<T, loan>) {
    (void)call.reply(std::move(value));
  } else if constexpr (std::is_same_v<T, body>) {
    (void)call.reply(value.bytes());
  } else {
    (void)call.reply_value(value);
  }
}

// What of a call its function sees besides values.
template <class Callable>
struct call_streams {
  explicit call_streams(context& call) {
    if constexpr (Callable::reads) in = call.input<in_type>();
    if constexpr (Callable::writes) out = call.output<out_type>();
  }
  template <bool Has, std::size_t I>
  struct pick {
    using type = std::monostate;
  };
  template <std::size_t I>
  struct pick<true, I> {
    using type = typename item_of<typename Callable::template parameter<I>>::type;
  };
  using in_type = typename pick<Callable::reads, Callable::last>::type;
  using out_type = typename pick<Callable::writes, Callable::before_sink>::type;

  auto references() {
    if constexpr (Callable::reads && Callable::writes) {
      return std::tie(in, out);
    } else if constexpr (Callable::reads) {
      return std::tie(in);
    } else if constexpr (Callable::writes) {
      return std::tie(out);
    } else {
      return std::tuple<>();
    }
  }
  // A bad item fails the call, also if the function thought it was the end.
  bool spoiled(context& call) const {
    if constexpr (Callable::reads) {
      if (const auto& why = in.bad_item()) {
        (void)call.fail(why->code, why->text);
        return true;
      }
    }
    return false;
  }

  stream<in_type> in;
  sink<out_type> out;
};

template <class Callable, class F>
decltype(auto) apply_all(F& function, context& call, typename Callable::values& values,
                         call_streams<Callable>& streams) {
  const auto with_streams = [&](auto&&... first) -> decltype(auto) {
    return std::apply(
        [&](auto&... last) -> decltype(auto) {
          return function(std::forward<decltype(first)>(first)..., last...);
        },
        streams.references());
  };
  return std::apply(
      [&](auto&... value) -> decltype(auto) {
        if constexpr (Callable::wants_context) {
          return with_streams(call, std::move(value)...);
        } else {
          return with_streams(std::move(value)...);
        }
      },
      values);
}

// Keeps the call, with its coroutine, until that has ended.
void start_coroutine(context& call, task<> work);

template <class F>
task<> run_coroutine(F& function, context& call, body argument) {
  using shape = callable<F>;
  try {
    auto values = values_in<typename shape::values>(call, argument);
    if (!values) {
      (void)call.reject(errc::invalid_params, values.error().message());
      co_return;
    }
    call_streams<shape> streams(call);
    if constexpr (std::is_void_v<typename shape::returned>) {
      co_await apply_all<shape>(function, call, *values, streams);
      if (!streams.spoiled(call)) (void)call.reply(std::span<const std::byte>());
    } else {
      auto value = co_await apply_all<shape>(function, call, *values, streams);
      if (!streams.spoiled(call)) answer_value(call, value);
    }
  } catch (const std::exception& problem) {
    (void)call.fail(errc::panic, problem.what());
  } catch (...) {
    (void)call.fail(errc::panic, "an exception that is no std::exception");
  }
}

template <class F>
void run_plain(F& function, context& call, body argument) {
  using shape = callable<F>;
  auto values = values_in<typename shape::values>(call, argument);
  if (!values) {
    (void)call.reject(errc::invalid_params, values.error().message());
    return;
  }
  call_streams<shape> streams(call);
  if constexpr (std::is_void_v<typename shape::returned>) {
    apply_all<shape>(function, call, *values, streams);
    if (!streams.spoiled(call) && !call.deferred()) (void)call.reply(std::span<const std::byte>());
  } else {
    auto value = apply_all<shape>(function, call, *values, streams);
    if (!streams.spoiled(call)) answer_value(call, value);
  }
}

template <class F>
handler make_handler(std::string name, F function, function_options options) {
  using shape = callable<F>;
  handler made;
  made.name = std::move(name);
  made.kind = shape::kind;
  made.coroutine = shape::coroutine;
  made.options = options;
  if constexpr (shape::coroutine) {
    made.run = [function = std::move(function)](context& call, body argument) mutable {
      start_coroutine(call, run_coroutine<F>(function, call, std::move(argument)));
    };
  } else {
    made.run = [function = std::move(function)](context& call, body argument) mutable {
      run_plain<F>(function, call, std::move(argument));
    };
  }
  return made;
}

}  // namespace ferry::detail
