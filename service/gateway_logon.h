// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "service/client_certificates.h"
#include "service/gateway_authenticator.h"
#include "service/kerberos.h"
#include "service/metrics.h"

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

// Of bellhop_kerberos_requests_total; `error`: none, or of Kerberos::authorization().
KerberosResult kerberos_result(const std::optional<Error>& error, bool asked);

// Logs users on at upstreams by Kerberos. Of one core; what it is given outlives it.
class KerberosAuthenticator final : public UpstreamAuthenticator {
 public:
  KerberosAuthenticator(Kerberos& kerberos, MetricsShard& metrics) : kerberos_(kerberos), metrics_(metrics) {}

  Task<Result<crypto::Secret>> authorization(const GatewayIdentity& identity, const GatewayEndpoint& endpoint,
                                             const HostPort& server, Bytes server_certificate) override;
  void forget(std::string_view user) override { kerberos_.forget(user); }

 private:
  Kerberos& kerberos_;
  MetricsShard& metrics_;
};

}  // namespace bellhop::service
