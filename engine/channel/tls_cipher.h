// TLS 1.3 as a stream cipher, the peer verified unless told otherwise.
// Threads   as stream_cipher.h.
// Errors    invalid_configuration: files that cannot be read or do not belong together.
//           unsupported_channel: built without TLS.
// Source    engine/channel/README.md, "TLS".
#pragma once
#include <memory>
#include <string>

#include "engine/channel/options.h"
#include "engine/channel/stream_cipher.h"

namespace ferry {

using cipher_result = result<std::unique_ptr<stream_cipher>, channel_error>;

bool has_tls() noexcept;
// `host`: from the address; options.host_name goes before it.
cipher_result connect_tls(const tls_options& options, const std::string& host);
cipher_result accept_tls(const tls_options& options);

}  // namespace ferry
