// What there is of TLS in a build without it.
#include "engine/channel/tls_cipher.h"

namespace ferry {

bool has_tls() noexcept { return false; }

cipher_result connect_tls(const tls_options&, const std::string&) {
  return channel_error(errc::unsupported_channel, "built without TLS");
}

cipher_result accept_tls(const tls_options&) {
  return channel_error(errc::unsupported_channel, "built without TLS");
}

}  // namespace ferry
