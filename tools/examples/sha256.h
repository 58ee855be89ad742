// SHA-256 by OpenSSL, with everything that costs time to set up kept for the next time.
// Threads   one at a time.
// Errors    std::runtime_error: OpenSSL cannot do it (a crippled installation, no memory).
#pragma once
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ferry::examples {

using sha256_digest = std::array<std::byte, 32>;

class sha256 {
 public:
  sha256();
  ~sha256();
  sha256_digest digest(std::span<const std::byte> bytes);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

std::string hex(std::span<const std::byte> bytes);

}  // namespace ferry::examples
