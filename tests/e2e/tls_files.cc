#include "tests/e2e/tls_files.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace ferry {
namespace {

struct freer {
  void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { ::X509_free(certificate); }
  void operator()(FILE* file) const { std::fclose(file); }
};

void extend(X509* certificate, int what, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const made = ::X509V3_EXT_conf_nid(nullptr, &context, what, value);
  ::X509_add_ext(certificate, made, -1);
  ::X509_EXTENSION_free(made);
}

void write(const std::string& folder) {
  const std::unique_ptr<EVP_PKEY, freer> key(::EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, freer> made(::X509_new());
  ::X509_set_version(made.get(), 2);
  ::ASN1_INTEGER_set(::X509_get_serialNumber(made.get()), 1);
  ::X509_gmtime_adj(::X509_getm_notBefore(made.get()), -3600);
  ::X509_gmtime_adj(::X509_getm_notAfter(made.get()), 3600);
  ::X509_set_pubkey(made.get(), key.get());
  X509_NAME* const name = ::X509_get_subject_name(made.get());
  ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  ::X509_set_issuer_name(made.get(), name);
  extend(made.get(), NID_basic_constraints, "critical,CA:TRUE");
  extend(made.get(), NID_subject_alt_name, "DNS:localhost");
  if (::X509_sign(made.get(), key.get(), ::EVP_sha256()) == 0) throw std::runtime_error("sign");
  const std::unique_ptr<FILE, freer> keys(std::fopen((folder + "key.pem").c_str(), "w"));
  const std::unique_ptr<FILE, freer> certificates(std::fopen((folder + "cert.pem").c_str(), "w"));
  if (!keys || !certificates) throw std::runtime_error("key files");
  ::PEM_write_PrivateKey(keys.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  ::PEM_write_X509(certificates.get(), made.get());
}

}  // namespace

tls_options server_tls(const std::string& folder) {
  if (!std::filesystem::exists(folder + "cert.pem")) write(folder);
  tls_options options;
  options.certificate_file = folder + "cert.pem";
  options.key_file = folder + "key.pem";
  return options;
}

tls_options client_tls(const std::string& folder) {
  (void)server_tls(folder);
  tls_options options;
  options.authorities_file = folder + "cert.pem";
  options.host_name = "localhost";
  return options;
}

}  // namespace ferry
