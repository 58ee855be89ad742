#include "tools/examples/sha256.h"

#include <openssl/evp.h>

#include <stdexcept>

namespace ferry::examples {

struct sha256::state {
  EVP_MD* algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~state() {
    EVP_MD_CTX_free(context);
    EVP_MD_free(algorithm);
  }
};

sha256::sha256() : state_(std::make_unique<state>()) {
  if (state_->algorithm == nullptr || state_->context == nullptr) {
    throw std::runtime_error("OpenSSL offers no SHA-256");
  }
}

sha256::~sha256() = default;

sha256_digest sha256::digest(std::span<const std::byte> bytes) {
  sha256_digest out;
  unsigned size = 0;
  const bool done =
      EVP_DigestInit_ex2(state_->context, state_->algorithm, nullptr) == 1 &&
      EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1 &&
      EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(out.data()), &size) == 1;
  if (!done || size != out.size()) throw std::runtime_error("OpenSSL failed to compute a SHA-256");
  return out;
}

std::string hex(std::span<const std::byte> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    out.push_back(digits[value >> 4]);
    out.push_back(digits[value & 15]);
  }
  return out;
}

}  // namespace ferry::examples
