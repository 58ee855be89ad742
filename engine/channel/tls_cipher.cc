#include "engine/channel/tls_cipher.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <mutex>
#include <vector>

namespace ferry {
namespace {

struct ssl_freer {
  void operator()(SSL* ssl) const noexcept { ::SSL_free(ssl); }
  void operator()(SSL_CTX* context) const noexcept { ::SSL_CTX_free(context); }
};
using unique_ssl = std::unique_ptr<SSL, ssl_freer>;
using unique_context = std::unique_ptr<SSL_CTX, ssl_freer>;

// What the library has to say about its last failure, and nothing of earlier ones.
std::string library_reason() {
  std::string text = "TLS failed";
  const unsigned long code = ::ERR_peek_last_error();
  if (const char* const reason = ::ERR_reason_error_string(code)) text = reason;
  ::ERR_clear_error();
  return text;
}

channel_error bad_file(const char* what, const std::string& file) {
  return {errc::invalid_configuration, std::string(what) + " " + file + ": " + library_reason()};
}

class tls_cipher final : public stream_cipher {
 public:
  tls_cipher(unique_context context, unique_ssl ssl)
      : context_(std::move(context)),
        ssl_(std::move(ssl)),
        in_(::BIO_new(::BIO_s_mem())),
        out_(::BIO_new(::BIO_s_mem())) {
    ::SSL_set_bio(ssl_.get(), in_, out_);  // owns both
  }

  bool open() const noexcept override { return open_.load(std::memory_order_acquire); }

  result<void, channel_error> begin(int socket) override {
    {
      const std::lock_guard guard(mutex_);
      socket_ = socket;
    }
    return advance();
  }

  void detach() noexcept override {
    const std::lock_guard guard(mutex_);
    socket_ = -1;
  }

  result<void, channel_error> advance() override {
    const std::lock_guard guard(mutex_);
    if (open()) return {};
    ::ERR_clear_error();
    const int rc = ::SSL_do_handshake(ssl_.get());
    if (rc == 1) {
      open_.store(true, std::memory_order_release);
      return {};
    }
    const int why = ::SSL_get_error(ssl_.get(), rc);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return {};
    std::string text = "TLS handshake: " + library_reason();
    if (const long verified = ::SSL_get_verify_result(ssl_.get()); verified != X509_V_OK) {
      text += ": ";
      text += ::X509_verify_cert_error_string(verified);
    }
    return channel_error(errc::authentication_failed, std::move(text));
  }

  void feed(std::span<const std::byte> sealed) override {
    const std::lock_guard guard(mutex_);
    has_spares_ = true;
    ::BIO_write(in_, sealed.data(), static_cast<int>(sealed.size()));  // memory: takes all of it
  }

  result<std::size_t, channel_error> read(std::span<std::byte> into) override {
    const std::lock_guard guard(mutex_);
    if (!open()) return std::size_t{0};
    std::size_t got = 0;
    while (got < into.size()) {
      ::ERR_clear_error();
      const auto room = static_cast<int>(std::min<std::size_t>(into.size() - got, INT_MAX));
      const int rc = ::SSL_read(ssl_.get(), into.data() + got, room);
      if (rc > 0) {
        got += static_cast<std::size_t>(rc);
        any_read_ = true;
        continue;
      }
      const int why = ::SSL_get_error(ssl_.get(), rc);
      if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ||
          why == SSL_ERROR_ZERO_RETURN || got != 0) {
        break;  // what is wrong behind `got` is told by the next call
      }
      // In TLS 1.3 the side that connects is done before the other has judged its certificate: the
      // alert that refuses it comes as the first record.
      const unsigned long first = ::ERR_peek_error();
      const bool alert =
          ERR_GET_LIB(first) == ERR_LIB_SSL && ERR_GET_REASON(first) >= SSL_AD_REASON_OFFSET;
      return channel_error(alert && !any_read_ ? errc::authentication_failed : errc::corrupt,
                           "TLS: " + library_reason());
    }
    return got;
  }

  result<void, channel_error> seal(std::span<const iovec> plain) override {
    const std::lock_guard guard(mutex_);
    has_spares_ = true;
    for (const iovec& each : plain) {
      const auto* from = static_cast<const std::byte*>(each.iov_base);
      for (std::size_t done = 0; done < each.iov_len;) {
        ::ERR_clear_error();
        const auto size = static_cast<int>(std::min<std::size_t>(each.iov_len - done, INT_MAX));
        const int rc = ::SSL_write(ssl_.get(), from + done, size);
        if (rc <= 0) return channel_error(errc::unavailable, "TLS: " + library_reason());
        done += static_cast<std::size_t>(rc);
      }
    }
    return {};
  }

  bool flush() noexcept override {
    const std::lock_guard guard(mutex_);
    if (socket_ < 0) return true;
    for (;;) {
      if (sent_ == waiting_.size()) {
        waiting_.clear();
        sent_ = 0;
        const std::size_t more = ::BIO_ctrl_pending(out_);
        if (more == 0) return true;
        waiting_.resize(more);
        const int rc = ::BIO_read(out_, waiting_.data(), static_cast<int>(more));
        waiting_.resize(rc > 0 ? static_cast<std::size_t>(rc) : 0);
        continue;
      }
      const ssize_t rc = ::send(socket_, waiting_.data() + sent_, waiting_.size() - sent_,
                                MSG_DONTWAIT | MSG_NOSIGNAL);
      if (rc < 0 && errno == EINTR) continue;
      if (rc < 0) return false;
      sent_ += static_cast<std::size_t>(rc);
    }
  }

  bool pending() noexcept override {
    const std::lock_guard guard(mutex_);
    return socket_ >= 0 && (sent_ != waiting_.size() || ::BIO_ctrl_pending(out_) != 0);
  }

  bool has_spares() noexcept override {
    const std::lock_guard guard(mutex_);
    return has_spares_;
  }

  // A memory BIO keeps what it once needed: an empty one gives way to a new one.
  void trim() noexcept override {
    const std::lock_guard guard(mutex_);
    has_spares_ = false;
    if (!open()) return;
    if (sent_ == waiting_.size()) {
      waiting_ = {};
      sent_ = 0;
    }
    if (::BIO_ctrl_pending(in_) == 0) {
      if (BIO* const fresh = ::BIO_new(::BIO_s_mem())) ::SSL_set0_rbio(ssl_.get(), in_ = fresh);
    }
    if (::BIO_ctrl_pending(out_) == 0) {
      if (BIO* const fresh = ::BIO_new(::BIO_s_mem())) ::SSL_set0_wbio(ssl_.get(), out_ = fresh);
    }
  }

 private:
  std::mutex mutex_;
  int socket_ = -1;  // the stream's, while it lasts
  unique_context context_;
  unique_ssl ssl_;
  BIO* in_;
  BIO* out_;
  std::vector<std::byte> waiting_;  // sealed, partly sent
  std::size_t sent_ = 0;
  std::atomic<bool> open_{false};
  bool any_read_ = false;    // of what the peer sealed
  bool has_spares_ = false;  // since the last trim()
};

result<unique_context, channel_error> context_of(const tls_options& options, bool accepts) {
  ::ERR_clear_error();
  unique_context made(::SSL_CTX_new(accepts ? ::TLS_server_method() : ::TLS_client_method()));
  if (!made) return channel_error(errc::system, library_reason());
  ::SSL_CTX_set_min_proto_version(made.get(), TLS1_3_VERSION);
  ::SSL_CTX_set_options(made.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // An end without a farewell is the socket's business: frames say where they end.
  ::SSL_CTX_set_options(made.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  ::SSL_CTX_set_mode(made.get(), SSL_MODE_RELEASE_BUFFERS);
  if (!options.certificate_file.empty()) {
    if (::SSL_CTX_use_certificate_chain_file(made.get(), options.certificate_file.c_str()) != 1) {
      return bad_file("certificate", options.certificate_file);
    }
    if (::SSL_CTX_use_PrivateKey_file(made.get(), options.key_file.c_str(), SSL_FILETYPE_PEM) !=
            1 ||
        ::SSL_CTX_check_private_key(made.get()) != 1) {
      return bad_file("key", options.key_file);
    }
  } else if (accepts) {
    return channel_error(errc::invalid_configuration, "a TLS listener without a certificate");
  }
  if (!options.authorities_file.empty()) {
    if (::SSL_CTX_load_verify_locations(made.get(), options.authorities_file.c_str(), nullptr) !=
        1) {
      return bad_file("authorities", options.authorities_file);
    }
  } else if (!accepts) {
    (void)::SSL_CTX_set_default_verify_paths(made.get());
  }
  int verify = SSL_VERIFY_NONE;
  if (accepts && options.require_client_cert) {
    if (options.authorities_file.empty()) {
      return channel_error(errc::invalid_configuration, "client certificates without authorities");
    }
    verify = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  }
  if (!accepts && options.verify_peer) verify = SSL_VERIFY_PEER;
  ::SSL_CTX_set_verify(made.get(), verify, nullptr);
  return made;
}

bool is_address(const std::string& host) {
  std::array<unsigned char, 16> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

}  // namespace

bool has_tls() noexcept { return true; }

cipher_result connect_tls(const tls_options& options, const std::string& host) {
  auto context = context_of(options, false);
  if (!context) return context.error();
  unique_ssl ssl(::SSL_new(context->get()));
  if (!ssl) return channel_error(errc::system, library_reason());
  ::SSL_set_connect_state(ssl.get());
  const std::string& expected = options.host_name.empty() ? host : options.host_name;
  if (is_address(expected)) {
    if (options.verify_peer) {
      ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl.get()), expected.c_str());
    }
  } else if (!expected.empty()) {
    (void)::SSL_set_tlsext_host_name(ssl.get(), expected.c_str());
    if (options.verify_peer && ::SSL_set1_host(ssl.get(), expected.c_str()) != 1) {
      return channel_error(errc::invalid_configuration, "an impossible host name");
    }
  } else if (options.verify_peer) {
    return channel_error(errc::invalid_configuration, "no host name to verify the peer by");
  }
  return std::unique_ptr<stream_cipher>(
      std::make_unique<tls_cipher>(std::move(*context), std::move(ssl)));
}

cipher_result accept_tls(const tls_options& options) {
  auto context = context_of(options, true);
  if (!context) return context.error();
  unique_ssl ssl(::SSL_new(context->get()));
  if (!ssl) return channel_error(errc::system, library_reason());
  ::SSL_set_accept_state(ssl.get());
  return std::unique_ptr<stream_cipher>(
      std::make_unique<tls_cipher>(std::move(*context), std::move(ssl)));
}

}  // namespace ferry
