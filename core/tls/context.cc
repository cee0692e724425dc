// SPDX-License-Identifier: Apache-2.0
#include "core/tls/context.h"

#include <openssl/cipher.h>
#include <openssl/digest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>

#include "core/base/check.h"
#include "core/tls/engine.h"
#include "core/tls/own_chain.h"

namespace bellhop {
namespace {

// TLS 1.2 suites: forward secret and AEAD only. BoringSSL's 1.3 suites all are, and are not configurable.
constexpr char kCiphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr char kGroups[] = "X25519:P-256:P-384";
// Our servers accept the tickets of those that ask for certificates as they do; a ticket says that the client had passed.
constexpr std::string_view session_scope(TlsClientAuth auth) {
  switch (auth) {
    case TlsClientAuth::none: return "bellhop";
    case TlsClientAuth::optional: return "bellhop, certificate";
    case TlsClientAuth::required: return "bellhop, with certificate";
  }
  return {};
}

std::atomic<WallTime (*)()> tls_clock{nullptr};

// The names that a server tells its clients, so that who has several certificates shows the right one (RFC 8446 section
// 4.2.4). So many that the message stays small; with more authorities clients hear none and choose by themselves.
constexpr size_t kAuthoritiesNamedMax = 64;
void name_authorities(SSL_CTX* context, const TlsAuthorities& authorities) {
  if (authorities.size() > kAuthoritiesNamedMax) return;
  bssl::UniquePtr<STACK_OF(CRYPTO_BUFFER)> names(sk_CRYPTO_BUFFER_new_null());
  const STACK_OF(X509_OBJECT)* objects = X509_STORE_get0_objects(authorities.store());
  for (size_t i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
    X509* authority = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
    uint8_t* der = nullptr;
    int size = authority ? i2d_X509_NAME(X509_get_subject_name(authority), &der) : 0;
    if (size <= 0) continue;
    bssl::UniquePtr<uint8_t> owner(der);
    bssl::UniquePtr<CRYPTO_BUFFER> name(CRYPTO_BUFFER_new(der, static_cast<size_t>(size), nullptr));
    BH_CHECK(bssl::PushToStack(names.get(), std::move(name)));
  }
  SSL_CTX_set0_client_CAs(context, names.release());
}

}  // namespace

void set_tls_clock(WallTime (*now)()) {
  tls_clock.store(now, std::memory_order_release);
}

int64_t tls_clock_seconds() {
  auto now = tls_clock.load(std::memory_order_acquire);
  BH_CHECK(now != nullptr);
  return to_unix_seconds(now());
}

// What BoringSSL calls; a struct so that it may see the context's members.
struct TlsContextCallbacks {
  static void current_time(const SSL*, struct timeval* out) {
    out->tv_sec = tls_clock_seconds();
    out->tv_usec = 0;
  }

  static int select_alpn(SSL*, const uint8_t** out, uint8_t* out_size, const uint8_t* offered, unsigned offered_size,
                         void* argument) {
    const auto& context = *static_cast<const TlsContext*>(argument);
    Bytes ours = as_bytes(context.alpn_wire_);
    Bytes theirs(offered, offered_size);  // BoringSSL has checked its form
    for (size_t i = 0; i < ours.size(); i += 1 + ours[i]) {
      Bytes name = ours.subspan(i, 1 + ours[i]);
      for (size_t j = 0; j < theirs.size(); j += 1 + theirs[j]) {
        if (!std::ranges::equal(name, theirs.subspan(j, 1 + theirs[j]))) continue;
        *out = name.data() + 1;
        *out_size = name[0];
        return SSL_TLSEXT_ERR_OK;
      }
    }
    return context.alpn_required_ ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
  }

  // 1: keys are set. 2: keys are set, and the client should get a newer ticket. 0: unknown key, full handshake.
  static int ticket_key(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, HMAC_CTX* mac, int sealing) {
    const auto& context = *static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    auto keys = context.ticket_keys_->snapshot();
    const TicketKey* key = &keys->current;
    int answer = 1;
    if (sealing) {
      std::copy(key->name.begin(), key->name.end(), name);
      RAND_bytes(iv, EVP_CIPHER_iv_length(EVP_aes_256_cbc()));
    } else if (!std::equal(key->name.begin(), key->name.end(), name)) {
      key = &keys->previous;
      answer = 2;
      if (!keys->has_previous || !std::equal(key->name.begin(), key->name.end(), name)) return 0;
    }
    bool set = HMAC_Init_ex(mac, key->mac_key.data(), key->mac_key.size(), EVP_sha256(), nullptr) == 1 &&
               EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher_key.data(), iv, sealing) == 1;
    return set ? answer : -1;
  }

  static int new_session(SSL* ssl, SSL_SESSION* session) {
    const auto& engine = *static_cast<const TlsEngine*>(SSL_get_app_data(ssl));
    auto& context = *static_cast<TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    context.sessions_.put(engine.peer_name(), session);
    return 1;  // the reference is the cache's now
  }
};

void TlsContext::set_common() {
  certificates_ = CRYPTO_BUFFER_POOL_new();
  context_ = SSL_CTX_new(TLS_with_buffers_method());
  BH_CHECK(certificates_ && context_);
  SSL_CTX_set_app_data(context_, this);
  SSL_CTX_set0_buffer_pool(context_, certificates_);
  SSL_CTX_set_current_time_cb(context_, TlsContextCallbacks::current_time);
  BH_CHECK(SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION) == 1);
  BH_CHECK(SSL_CTX_set_max_proto_version(context_, TLS1_3_VERSION) == 1);
  BH_CHECK(SSL_CTX_set_strict_cipher_list(context_, kCiphers) == 1);
  BH_CHECK(SSL_CTX_set1_curves_list(context_, kGroups) == 1);
  SSL_CTX_set_options(context_, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_early_data_enabled(context_, 0);
  SSL_CTX_set_max_cert_list(context_, kPeerChainBytesMax);
  constexpr auto lifetime = static_cast<uint32_t>(TicketKeys::kTicketLifetime / 1s);
  SSL_CTX_set_timeout(context_, lifetime);
  SSL_CTX_set_session_psk_dhe_timeout(context_, lifetime);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
}

Status TlsContext::set_alpn(const std::vector<std::string>& names, std::string& complaint) {
  alpn_ = names;
  for (const std::string& name : names) {
    if (name.empty() || alpn_wire_.size() + 1 + name.size() > kAlpnBytesMax) {
      complaint = "application protocols: a name is empty or all names are longer than 255 bytes together";
      return fail(tls_error(TlsError::invalid_alpn));
    }
    alpn_wire_.push_back(static_cast<char>(name.size()));
    alpn_wire_ += name;
  }
  return {};
}

Status TlsContext::set_identity(const TlsServerOptions& options, std::string& complaint) {
  BH_TRY(OwnChain own, read_own_chain(options.chain, options.key, OwnDates::must_be_good, certificates_, complaint));
  std::vector<CRYPTO_BUFFER*> raw;
  for (auto& certificate : own.certificates) raw.push_back(certificate.get());
  bool set = SSL_CTX_set_chain_and_key(context_, raw.data(), raw.size(), own.key.get(), nullptr) == 1;
  ERR_clear_error();
  if (!set) {
    complaint = std::string(options.key.name) + ": this kind of key cannot serve TLS";
    return fail(tls_error(TlsError::invalid_key));
  }
  certificate_expires_ = WallTime(std::chrono::seconds(own.expires));
  return {};
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const TlsServerOptions& options, std::string& complaint) {
  std::shared_ptr<TlsContext> context(new TlsContext);
  context->is_server_ = true;
  context->alpn_required_ = options.alpn_required;
  context->ticket_keys_ = options.ticket_keys;
  context->client_auth_ = options.client_auth;
  context->authorities_ = options.client_authorities;
  context->revocations_ = options.client_revocations;
  context->client_use_stated_ = options.client_use_stated;
  if (options.client_auth != TlsClientAuth::none && !options.client_authorities) {
    complaint = "clients are asked for certificates, but no authorities for these are given";
    return fail(tls_error(TlsError::invalid_authorities));
  }
  context->set_common();
  BH_CHECKED(context->set_alpn(options.alpn, complaint));
  BH_CHECKED(context->set_identity(options, complaint));
  SSL_CTX* native = context->context_;
  if (!options.alpn.empty()) SSL_CTX_set_alpn_select_cb(native, TlsContextCallbacks::select_alpn, context.get());
  if (options.client_auth != TlsClientAuth::none) name_authorities(native, *options.client_authorities);
  Bytes scope = as_bytes(session_scope(options.client_auth));
  BH_CHECK(SSL_CTX_set_session_id_context(native, scope.data(), scope.size()) == 1);
  if (options.ticket_keys) {
    SSL_CTX_set_tlsext_ticket_key_cb(native, TlsContextCallbacks::ticket_key);
  } else {
    SSL_CTX_set_options(native, SSL_OP_NO_TICKET);
  }
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(const TlsClientOptions& options, std::string& complaint) {
  if (!options.authorities && options.pins.empty()) {
    complaint = "neither trusted certificates nor pinned keys are given";
    return fail(tls_error(TlsError::invalid_authorities));
  }
  std::shared_ptr<TlsContext> context(new TlsContext);
  context->authorities_ = options.authorities;
  context->pins_ = options.pins;
  context->set_common();
  BH_CHECKED(context->set_alpn(options.alpn, complaint));
  SSL_CTX* native = context->context_;
  if (!context->alpn_wire_.empty()) {
    Bytes wire = as_bytes(context->alpn_wire_);
    BH_CHECK(SSL_CTX_set_alpn_protos(native, wire.data(), static_cast<unsigned>(wire.size())) == 0);
  }
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(native, TlsContextCallbacks::new_session);
  return context;
}

std::shared_ptr<TlsContext> TlsContext::sibling() const {
  BH_CHECK(!is_server_);
  std::string complaint;
  auto made = client({.authorities = authorities_, .pins = pins_, .alpn = alpn_}, complaint);
  BH_CHECK(made);  // this one was made of the same
  return *std::move(made);
}

bool TlsContext::claim(const std::array<uint8_t, 32>& identity) {
  if (!claimed_by_) claimed_by_ = identity;
  return *claimed_by_ == identity;
}

TlsContext::~TlsContext() {
  sessions_.clear();
  SSL_CTX_free(context_);
  CRYPTO_BUFFER_POOL_free(certificates_);  // last: sessions and the context hold its buffers
}

}  // namespace bellhop
