// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/time.h"
#include "core/tls/authorities.h"
#include "core/tls/error.h"
#include "core/tls/revocations.h"
#include "core/tls/session_cache.h"
#include "core/tls/ticket_keys.h"

struct ssl_ctx_st;
struct crypto_buffer_pool_st;

namespace bellhop {

// The wall clock of all contexts: certificate dates, session and ticket lifetimes. BoringSSL's hook takes no argument,
// so there is one per process. Set once at start, before the first context (programs pass io::wall_now).
void set_tls_clock(WallTime (*now)());

// Whether a server asks its clients for a certificate.
enum class TlsClientAuth : uint8_t {
  none,
  optional,  // a client without one goes on; one that shows a bad one does not
  required,
};

struct TlsServerOptions {
  TlsFile chain;                  // PEM, server's certificate first, then its issuers; ECDSA P-256 by preference
  TlsFile key;                    // PEM, unencrypted private key of the first certificate; read from, never kept
  std::vector<std::string> alpn;  // in our order of preference, e.g. {"h2", "http/1.1"}
  bool alpn_required = false;     // a client that offers only others: true = alert, false = goes on without
  std::shared_ptr<TicketKeys> ticket_keys;  // shared by the contexts of all cores; null = no resumption
  TlsClientAuth client_auth = TlsClientAuth::none;
  std::shared_ptr<const TlsAuthorities> client_authorities;  // whom clients' certificates come from
  std::shared_ptr<const TlsRevocations> client_revocations;  // null: none is asked; else each must be in reach of a list
  bool client_use_stated = false;  // their extended key usage must name clientAuth; else it may be missing
};

// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469 section 2.4).
using SpkiPin = std::array<uint8_t, 32>;

struct TlsClientOptions {
  // At least one of the two. With authorities, the chain must end at one of them. With pins, the server's own
  // certificate must carry a pinned key. With both, both. With pins alone the issuer does not matter (self-signed
  // is fine), the key, the host name and the dates do.
  std::shared_ptr<const TlsAuthorities> authorities;
  std::vector<SpkiPin> pins;
  std::vector<std::string> alpn;  // offered in this order
};

// What connections of one kind have in common. Versions 1.2 and 1.3; AEAD with ECDHE only; no renegotiation, no
// compression, no 0-RTT; the host name is always verified.
//
// Make one per core: it is cheap (one certificate parse) and then nothing of it is shared between cores but ticket
// keys and authorities, which are made for that. Not thread-safe: a client context holds its session cache.
// Engines keep their context alive, so a reload makes a new one and drops the old.
//
// A session speaks for whoever made it. So the first engine of a client context decides which identity (or none) the
// context is for, and an engine of another identity on it is a bug: sibling() makes a context for each.
class TlsContext {
 public:
  static constexpr size_t kPeerChainMax = 8;  // certificates
  static constexpr unsigned kRsaBitsMin = 2048;
  static constexpr unsigned kRsaBitsMax = 8192;
  static constexpr size_t kPeerChainBytesMax = 64 * 1024;  // of a peer's Certificate message
  static constexpr size_t kOwnChainBytesMax = 32 * 1024;
  static constexpr size_t kAlpnBytesMax = 255;

  // Validates everything: chain parses and is in order, dates are good, the key fits the first certificate.
  // On failure `complaint` is one line for the operator that names the file.
  // Errors: invalid_chain, invalid_key, key_mismatch, own_certificate_*, certificate_key_size, invalid_alpn.
  static Result<std::shared_ptr<TlsContext>> server(const TlsServerOptions& options, std::string& complaint);
  // Errors: invalid_authorities (neither authorities nor pins), invalid_alpn.
  static Result<std::shared_ptr<TlsContext>> client(const TlsClientOptions& options, std::string& complaint);
  // Of a client context: another one with the same trust and protocols, and no session.
  std::shared_ptr<TlsContext> sibling() const;

  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ~TlsContext();

  bool is_server() const { return is_server_; }
  // When the first certificate of our own chain that expires does so. Server only.
  WallTime certificate_expires() const { return certificate_expires_; }

  // For the engine.
  ssl_ctx_st* native() const { return context_; }
  TlsSessionCache& sessions() { return sessions_; }
  // Makes the client context one for this identity; false where it is another's already. Zeros: nobody.
  bool claim(const std::array<uint8_t, 32>& identity);
  TlsClientAuth client_auth() const { return client_auth_; }
  crypto_buffer_pool_st* certificates() const { return certificates_; }
  const std::vector<SpkiPin>& pins() const { return pins_; }
  // Whom peers' certificates come from.
  const TlsAuthorities* authorities() const { return authorities_.get(); }
  // Server only; null where none is asked.
  const TlsRevocations* revocations() const { return revocations_.get(); }
  bool client_use_stated() const { return client_use_stated_; }

 private:
  friend struct TlsContextCallbacks;
  TlsContext() = default;
  void set_common();
  Status set_alpn(const std::vector<std::string>& names, std::string& complaint);
  Status set_identity(const TlsServerOptions& options, std::string& complaint);

  bool is_server_ = false;
  bool alpn_required_ = false;
  TlsClientAuth client_auth_ = TlsClientAuth::none;
  WallTime certificate_expires_{};
  std::optional<std::array<uint8_t, 32>> claimed_by_;
  std::vector<std::string> alpn_;
  std::string alpn_wire_;  // each name with its length in front, RFC 7301 section 3.1
  std::shared_ptr<TicketKeys> ticket_keys_;
  std::shared_ptr<const TlsAuthorities> authorities_;
  std::shared_ptr<const TlsRevocations> revocations_;
  bool client_use_stated_ = false;
  std::vector<SpkiPin> pins_;
  crypto_buffer_pool_st* certificates_ = nullptr;  // one copy of each certificate, however many connections hold it
  ssl_ctx_st* context_ = nullptr;
  TlsSessionCache sessions_;
};

}  // namespace bellhop
