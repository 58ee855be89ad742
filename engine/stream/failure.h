// A failure as it travels: a code, a text for people and, from a typed function, its own error.
// Source    ring/record.h, has_detail; engine/README.md, "Errors".
#pragma once
#include <span>

#include "engine/codec/holds_view.h"
#include "engine/codec/typed.h"
#include "engine/method.h"
#include "ring/record.h"
#include "shm/result.h"

namespace ferry {

inline constexpr std::size_t max_error_text = 4096;  // of a peer's failure: a longer one is cut

// What a failure, or an item that is an error, says. Whatever the peer wrote, the result is usable.
call_error failure_in(std::uint16_t code, std::uint8_t flags, std::span<const std::byte> body);

// The body of a failure with has_detail: `detail` is one MessagePack value.
void encode_failure(value_writer& writer, std::string_view text, std::span<const std::byte> detail);

// With the function's own error, if it has one of type E and that is it.
namespace detail {
template <class E>
auto typed_failure(call_error&& why) {
  if constexpr (std::is_void_v<E>) {
    return std::move(why);
  } else {
    static_assert(!holds_view<E>,
                  "a view (string_view, span, char*) would outlive the error's detail that it lies "
                  "in, also inside another type: use std::string or std::vector<std::byte>");
    typed_error<E> typed{std::move(why), std::nullopt};
    if (!typed.call_error::detail.empty()) {
      if (auto own = decode<E>(typed.call_error::detail)) typed.detail = std::move(*own);
    }
    return typed;
  }
}
}  // namespace detail

// What kind of end a stream had, for callers that treat them differently.
enum class stream_error_kind { timeout, transport, application, cancelled };
stream_error_kind kind_of(const call_error& why) noexcept;

}  // namespace ferry
