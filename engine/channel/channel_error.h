// How an operation of a channel failed.
// Threads   a plain value.
// Source    engine/channel/README.md, "Errors".
#pragma once
#include <cstdint>
#include <string>
#include <utility>

#include "shm/error.h"

namespace ferry {

struct channel_error {
  errc code = errc::internal;
  std::string text;
  std::uint64_t timeout_ms = 0;  // of errc::timeout: how long was waited
  bool maybe_executed = false;   // the peer may have acted on the request

  channel_error() = default;
  channel_error(errc why, std::string what, std::uint64_t waited_ms = 0, bool maybe = false)
      : code(why), text(std::move(what)), timeout_ms(waited_ms), maybe_executed(maybe) {}
  channel_error(const error& why) : code(why.code), text(why.message()) {}
  channel_error(call_error why)
      : code(why.code), text(std::move(why.text)), maybe_executed(why.maybe_executed) {}

  std::string message() const { return call_error{code, text, maybe_executed}.message(); }
};

}  // namespace ferry
