// Keys and certificates for tests, made when they are needed.
#pragma once
#include <string>

#include "engine/channel/options.h"

namespace ferry {

// Writes a key and a certificate for "localhost" into the folder unless they are there. Empty
// options where the build has no TLS.
tls_options server_tls(const std::string& folder);
tls_options client_tls(const std::string& folder);

}  // namespace ferry
