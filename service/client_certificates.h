// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/time.h"
#include "core/tls/context.h"
#include "core/tls/identity.h"
#include "service/logon_config.h"

namespace bellhop::service {

// Whose certificates log on at the gateway: authorities, revocation lists and domains of [gateway.certificates]. Immutable and shared by
// all cores; a reload makes a new one. TLS verifies chain, dates, use and revocation in the handshake, a resumed one
// included; a connection may outlive that, so that each request is checked again, without cryptography.
class ClientCertificates {
 public:
  // Reads the files; blocking. On failure `complaint` is one line that names the file. Errors: os, tls
  // (invalid_authorities, invalid_revocations).
  static Result<std::shared_ptr<const ClientCertificates>> read(const CertificatesConfig& config, std::string& complaint);

  // What a listener needs to ask for certificates and to verify them.
  void apply_to(TlsServerOptions& options) const;
  // Whether the certificate that a connection began with is still good. Errors: certificate_expired,
  // certificate_not_yet_valid, certificate_revoked, certificate_revocation_unknown, certificate_invalid;
  // certificate_revocations_stale where the lists are older than crl_stale_hours_max allows: nobody can say
  // then (503, not 403).
  Status check(Bytes certificate, WallTime now) const;
  // The user's domain, the part after "@", is one of user_domains.
  bool takes_user(std::string_view user_principal_name) const;
  bool mail_address() const { return config_.mail_address; }
  // When the first revocation list ends.
  WallTime next_update() const;

 private:
  ClientCertificates() = default;
  CertificatesConfig config_;
  std::shared_ptr<const TlsAuthorities> authorities_;
  std::shared_ptr<const TlsRevocations> revocations_;  // null: none is named
};

}  // namespace bellhop::service
