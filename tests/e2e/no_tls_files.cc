// Keys for tests of a build without TLS: none.
#include "tests/e2e/tls_files.h"

namespace ferry {

tls_options server_tls(const std::string&) { return {}; }
tls_options client_tls(const std::string&) { return {}; }

}  // namespace ferry
