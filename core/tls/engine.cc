// SPDX-License-Identifier: Apache-2.0
#include "core/tls/engine.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <algorithm>

#include "core/base/check.h"
#include "core/tls/boringssl.h"
#include "core/tls/host_name.h"
#include "core/tls/own_chain.h"
#include "core/tls/verify.h"

namespace bellhop {
namespace {

constexpr size_t kRecordPlaintextMax = SSL3_RT_MAX_PLAIN_LENGTH;
// Header, explicit nonce, content type and tag of one record, rounded up.
constexpr size_t kRecordOverheadMax = 64;
// Below it, the room left in the output is not worth a record.
constexpr size_t kRecordWorthBytes = 1024;

std::array<uint8_t, 32> digest_of(const TlsIdentity& identity) {
  SHA256_CTX hash;
  std::array<uint8_t, 32> digest;
  SHA256_Init(&hash);
  SHA256_Update(&hash, identity.chain.data(), identity.chain.size());
  SHA256_Update(&hash, identity.private_key.data(), identity.private_key.size());
  SHA256_Final(digest.data(), &hash);
  wipe(&hash, sizeof hash);
  return digest;
}

}  // namespace

// What BoringSSL calls: the transport in the shape of a BIO, and the verdict on the server's certificate.
struct TlsEngineCallbacks {
  static TlsEngine& engine_of(BIO* bio) { return *static_cast<TlsEngine*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* out, int size) {
    BIO_clear_retry_flags(bio);
    ByteQueue& input = engine_of(bio).input_;
    size_t count = std::min(input.size(), static_cast<size_t>(size));
    if (count == 0) {
      // An ended transport looks like one that has nothing now; settle() tells them apart.
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(out, input.peek().data(), count);
    input.consume(count);
    return static_cast<int>(count);
  }

  static int write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    ByteQueue& output = engine_of(bio).output_;
    size_t room = TlsEngine::kOutputBytesMax + TlsEngine::kProtocolBytesMax - output.size();
    size_t count = std::min(room, static_cast<size_t>(size));
    if (count == 0) {
      BIO_set_retry_write(bio);
      return -1;
    }
    output.append(as_bytes({bytes, count}));
    return static_cast<int>(count);
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static const BIO_METHOD* transport() {
    static const BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(0, "bellhop");
      BH_CHECK(made && BIO_meth_set_read(made, read) && BIO_meth_set_write(made, write) &&
               BIO_meth_set_ctrl(made, control));
      return made;
    }();
    return method;
  }

  static ssl_verify_result_t verify(SSL* ssl, uint8_t* alert) {
    auto& engine = *static_cast<TlsEngine*>(SSL_get_app_data(ssl));
    const STACK_OF(CRYPTO_BUFFER)* chain = SSL_get0_peer_certificates(ssl);
    Status verdict = engine.context_->is_server() ? verify_client_chain(*engine.context_, chain)
                                                  : verify_server_chain(*engine.context_, engine.peer_name_, chain);
    ERR_clear_error();
    if (verdict) return ssl_verify_ok;
    engine.certificate_error_ = verdict.error();
    *alert = alert_of(verdict.error());
    return ssl_verify_invalid;
  }

  // A server asks for a certificate.
  static int choose_certificate(SSL*, void* engine) {
    static_cast<TlsEngine*>(engine)->certificate_asked_ = true;
    return 1;
  }
};

const char* to_text(TlsState state) {
  switch (state) {
    case TlsState::want_input:
      return "want_input";
    case TlsState::want_output:
      return "want_output";
    case TlsState::open:
      return "open";
    case TlsState::closed:
      return "closed";
    case TlsState::failed:
      return "failed";
  }
  return "unknown";
}

TlsEngine::TlsEngine(std::shared_ptr<TlsContext> context) : context_(std::move(context)) {
  BH_CHECK(context_ && context_->is_server());
  make();
  SSL_set_accept_state(ssl_);
  if (context_->client_auth() == TlsClientAuth::none) return;
  bool required = context_->client_auth() == TlsClientAuth::required;
  SSL_set_custom_verify(ssl_, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                        TlsEngineCallbacks::verify);
}

TlsEngine::TlsEngine(std::shared_ptr<TlsContext> context, std::string_view host, const TlsIdentity* identity)
    : context_(std::move(context)) {
  BH_CHECK(context_ && !context_->is_server());
  std::array<uint8_t, 32> claim{};
  if (identity) claim = digest_of(*identity);
  BH_CHECK(context_->claim(claim));
  bool address = valid_ip_literal(host);
  if (!address && !valid_dns_name(host)) {
    fail_with(tls_error(TlsError::invalid_host_name));
    return;
  }
  peer_name_ = ascii_lower(host);
  make();
  SSL_set_connect_state(ssl_);
  SSL_set_custom_verify(ssl_, SSL_VERIFY_PEER, TlsEngineCallbacks::verify);
  SSL_set_cert_cb(ssl_, TlsEngineCallbacks::choose_certificate, this);
  if (identity) {
    if (Status set = set_identity(ssl_, *identity, context_->certificates()); !set) {
      fail_with(set.error());
      return;
    }
  }
  if (!address) BH_CHECK(SSL_set_tlsext_host_name(ssl_, peer_name_.c_str()) == 1);
  if (SSL_SESSION* session = context_->sessions().take(peer_name_)) {
    SSL_set_session(ssl_, session);
    SSL_SESSION_free(session);
  }
}

void TlsEngine::make() {
  ssl_ = SSL_new(context_->native());
  BIO* bio = BIO_new(TlsEngineCallbacks::transport());
  BH_CHECK(ssl_ && bio);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  SSL_set_renegotiate_mode(ssl_, ssl_renegotiate_never);
  SSL_set_shed_handshake_config(ssl_, 1);
}

TlsEngine::~TlsEngine() {
  SSL_free(ssl_);
}

size_t TlsEngine::feed(Bytes ciphertext) {
  if (state_ == TlsState::closed || state_ == TlsState::failed) return ciphertext.size();
  BH_CHECK(!input_ended_);
  size_t count = std::min(ciphertext.size(), kInputBytesMax - input_.size());
  input_.append(ciphertext.first(count));
  return count;
}

void TlsEngine::end_input() {
  input_ended_ = true;
}

TlsState TlsEngine::advance() {
  switch (state_) {
    case TlsState::want_input:
    case TlsState::want_output: {
      ERR_clear_error();
      int result = SSL_do_handshake(ssl_);
      if (result == 1) {
        finish_handshake();
      } else {
        settle(result);
      }
      break;
    }
    case TlsState::open:
    case TlsState::closed:
      flush_tickets();
      break;
    case TlsState::failed:
      break;
  }
  return state_;
}

void TlsEngine::finish_handshake() {
  state_ = TlsState::open;
  if (!context_->is_server()) return;
  // A session speaks for a certificate that was good when it began; the library verifies none again on this side.
  if (resumed() && context_->client_auth() != TlsClientAuth::none && !peer_certificate().empty()) {
    Status good = verify_client_chain(*context_, SSL_get0_peer_certificates(ssl_));
    if (!good) {
      SSL_send_fatal_alert(ssl_, alert_of(good.error()));
      return fail_with(good.error());
    }
  }
  const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
  if (name && valid_dns_name(name)) peer_name_ = ascii_lower(name);  // else whatever bytes a client likes
  tickets_pending_ = true;
  flush_tickets();
}

// BoringSSL keeps a 1.3 server's tickets until the first write. An empty write sends them, which lets the client
// resume even from a connection on which we never say anything, and frees their memory.
void TlsEngine::flush_tickets() {
  if (!tickets_pending_ || output_.size() >= kOutputBytesMax) return;
  tickets_pending_ = false;
  ERR_clear_error();
  int result = SSL_write(ssl_, "", 0);
  if (result < 0) settle(result);
}

size_t TlsEngine::read(MutableBytes out) {
  BH_CHECK(!out.empty());
  if (state_ != TlsState::open) return 0;
  size_t total = 0;
  // Without input the library has nothing to give, but for the end of it.
  while (total < out.size() && (may_read() || (total == 0 && input_ended_))) {
    size_t wanted = std::min<size_t>(out.size() - total, INT32_MAX);
    int result = SSL_read(ssl_, out.data() + total, static_cast<int>(wanted));
    if (result <= 0) {
      settle(result);
      break;
    }
    total += static_cast<size_t>(result);
  }
  return total;
}

bool TlsEngine::may_read() const {
  return state_ == TlsState::open && (!input_.empty() || SSL_pending(ssl_) > 0);
}

size_t TlsEngine::writable() const {
  if ((state_ != TlsState::open && state_ != TlsState::closed) || close_sent_) return 0;
  if (output_.size() + kRecordOverheadMax + kRecordWorthBytes > kOutputBytesMax) return 0;
  return std::min(kRecordPlaintextMax, kOutputBytesMax - output_.size() - kRecordOverheadMax);
}

size_t TlsEngine::write(Bytes plaintext) {
  size_t total = 0;
  while (total < plaintext.size()) {
    size_t count = std::min(plaintext.size() - total, writable());
    if (count == 0) break;
    int result = SSL_write(ssl_, plaintext.data() + total, static_cast<int>(count));
    if (result <= 0) {
      // The output had room for a whole record, so it is not WANT_WRITE.
      settle(result);
      break;
    }
    total += static_cast<size_t>(result);
  }
  return total;
}

void TlsEngine::close() {
  if (close_sent_ || state_ == TlsState::failed) return;
  if (state_ == TlsState::want_input || state_ == TlsState::want_output) {
    return fail_with(core_error(CoreError::closed));
  }
  close_sent_ = true;
  ERR_clear_error();
  SSL_shutdown(ssl_);  // 0 or 1: sent; whether the peer's has come is read()'s business
  ERR_clear_error();
}

// Moves to the state that a call of BoringSSL which gave `result` <= 0 means.
void TlsEngine::settle(int result) {
  bool shaking = state_ == TlsState::want_input || state_ == TlsState::want_output;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      if (input_ended_) return fail_with(tls_error(shaking ? TlsError::ended_in_handshake : TlsError::truncated));
      if (shaking) state_ = TlsState::want_input;
      return;
    case SSL_ERROR_WANT_WRITE:
      if (shaking) state_ = TlsState::want_output;
      return;
    case SSL_ERROR_ZERO_RETURN:
      if (shaking) return fail_with(tls_error(TlsError::ended_in_handshake));
      state_ = TlsState::closed;
      input_.clear();
      return;
    default:
      return fail_with(failure());
  }
}

void TlsEngine::fail_with(Error error) {
  state_ = TlsState::failed;
  error_ = error;
  input_.clear();
  ERR_clear_error();
}

// Maps BoringSSL's error queue, whose first entry of its own library is the cause.
Error TlsEngine::failure() const {
  if (certificate_error_.domain != Domain::none) return certificate_error_;
  uint32_t packed = 0;
  do {
    packed = ERR_get_error();
  } while (packed != 0 && ERR_GET_LIB(packed) != ERR_LIB_SSL);
  int reason = ERR_GET_REASON(packed);
  if (reason >= SSL_AD_REASON_OFFSET) {
    return tls_error(TlsError::peer_alert, static_cast<uint32_t>(reason - SSL_AD_REASON_OFFSET));
  }
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
      return tls_error(TlsError::not_tls);
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_SUPPORTED_VERSIONS_ENABLED:
    case SSL_R_UNKNOWN_PROTOCOL:
      return tls_error(TlsError::version_not_shared);
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUP:
    case SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS:
      return tls_error(TlsError::cipher_not_shared);
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return tls_error(TlsError::alpn_not_shared);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return tls_error(TlsError::certificate_missing);
    case SSL_R_NO_RENEGOTIATION:
      return tls_error(TlsError::renegotiation_asked);
    case SSL_R_DECRYPTION_FAILED:
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
      return tls_error(TlsError::damaged_record);
    default:
      return tls_error(TlsError::protocol, static_cast<uint32_t>(reason));
  }
}

std::string_view TlsEngine::alpn() const {
  if (!ssl_) return {};
  const uint8_t* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return as_text({name, size});
}

bool TlsEngine::resumed() const {
  return ssl_ && SSL_session_reused(ssl_) == 1;
}

TlsVersion TlsEngine::version() const {
  if (!ssl_ || SSL_in_init(ssl_)) return TlsVersion::none;
  return SSL_version(ssl_) == TLS1_3_VERSION ? TlsVersion::v1_3 : TlsVersion::v1_2;
}

Bytes TlsEngine::peer_certificate() const {
  const STACK_OF(CRYPTO_BUFFER)* chain = ssl_ ? SSL_get0_peer_certificates(ssl_) : nullptr;
  if (!chain || sk_CRYPTO_BUFFER_num(chain) == 0) return {};
  const CRYPTO_BUFFER* own = sk_CRYPTO_BUFFER_value(chain, 0);
  return {CRYPTO_BUFFER_data(own), CRYPTO_BUFFER_len(own)};
}

std::string_view TlsEngine::cipher() const {
  const SSL_CIPHER* cipher = ssl_ ? SSL_get_current_cipher(ssl_) : nullptr;
  return cipher ? SSL_CIPHER_standard_name(cipher) : std::string_view();
}

}  // namespace bellhop
