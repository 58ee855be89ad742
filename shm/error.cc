#include "shm/error.h"

#include <cstring>

namespace ferry {

std::string_view name_of(errc code) noexcept {
  switch (code) {
    case errc::full: return "full";
    case errc::empty: return "empty";
    case errc::closed: return "closed";
    case errc::corrupt: return "corrupt";
    case errc::system: return "system";
    case errc::no_memory: return "no memory";
    case errc::limit: return "limit";
    case errc::bad_argument: return "bad argument";
    case errc::version_mismatch: return "version mismatch";
    case errc::refused: return "refused";
    case errc::not_supported: return "not supported";
    case errc::connection_failed: return "connection failed";
    case errc::authentication_failed: return "authentication failed";
    case errc::unsupported_transport: return "unsupported transport";
    case errc::unsupported_runtime: return "unsupported runtime";
    case errc::unsupported_channel: return "unsupported channel";
    case errc::channel_creation_failed: return "channel creation failed";
    case errc::invalid_configuration: return "invalid configuration";
    case errc::send_failed: return "send failed";
    case errc::receive_failed: return "receive failed";
    case errc::invalid_request: return "invalid request";
    case errc::invalid_params: return "invalid params";
    case errc::function_not_found: return "function not found";
    case errc::unauthorized: return "unauthorized";
    case errc::frame_too_large: return "frame too large";
    case errc::execution_failed: return "execution failed";
    case errc::timeout: return "timeout";
    case errc::cancelled: return "cancelled";
    case errc::panic: return "panic";
    case errc::internal: return "internal";
    case errc::unavailable: return "unavailable";
    case errc::overloaded: return "overloaded";
  }
  return "error";
}

std::string error::message() const {
  std::string text(name_of(code));
  if (*what != '\0') text.append(": ").append(what);
  if (sys_errno != 0) text.append(": ").append(::strerrordesc_np(sys_errno));
  if (wanted != 0 || allowed != 0) {
    text.append(" (wanted ").append(std::to_string(wanted));
    text.append(", allowed ").append(std::to_string(allowed)).append(")");
  }
  return text;
}

std::string call_error::message() const {
  std::string out(name_of(code));
  out.append(" (").append(std::to_string(static_cast<unsigned>(code))).append(")");
  if (!text.empty()) out.append(": ").append(text);
  return out;
}

}  // namespace ferry
