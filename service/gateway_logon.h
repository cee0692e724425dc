// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "service/client_certificates.h"
#include "service/gateway_authenticator.h"
#include "service/kerberos.h"

namespace bellhop::service {

// What the gateway's certificates name: [gateway.certificates] for one core, replaced by a reload.
class GatewayCertificates final : public CertificateUsers {
 public:
  // Null: nobody logs on by certificate.
  explicit GatewayCertificates(std::shared_ptr<const ClientCertificates> certificates) : certificates_(std::move(certificates)) {}

  void take(std::shared_ptr<const ClientCertificates> certificates) { certificates_ = std::move(certificates); }

  Result<std::string> user(Bytes der, WallTime now) const override;
  bool cannot_tell(const Error& error) const override { return is(error, TlsError::certificate_revocations_stale); }

 private:
  std::shared_ptr<const ClientCertificates> certificates_;
};

// Logs users on at upstreams by Kerberos. Of one core; `kerberos` outlives it.
class KerberosAuthenticator final : public UpstreamAuthenticator {
 public:
  explicit KerberosAuthenticator(Kerberos& kerberos) : kerberos_(kerberos) {}

  Task<Result<crypto::Secret>> authorization(const GatewayIdentity& identity, const GatewayEndpoint& endpoint,
                                             const HostPort& server, Bytes server_certificate) override;
  void refused(const GatewayIdentity& identity) override { kerberos_.forget(identity.user); }

 private:
  Kerberos& kerberos_;
};

}  // namespace bellhop::service
