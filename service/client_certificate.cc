// SPDX-License-Identifier: Apache-2.0
#include "service/client_certificate.h"

#include "core/cross_core.h"
#include "core/io.h"
#include "crypto/pkcs12.h"
#include "service/error_texts.h"

namespace bellhop::service {

Task<Status> open_certificate(Semaphore& openings, crypto::CertificateCredentials& certificate) {
  // What is refused by its looks does not wait for the worker.
  BH_CO_CHECKED(crypto::count_pkcs12_iterations(certificate.pkcs12.reveal()));
  std::optional<Semaphore::Permit> permit = openings.try_acquire();
  if (!permit) co_return fail(service_error(ServiceError::overload));
  WallTime now = io::wall_now();
  Result<crypto::ClientCertificate> opened = co_await offload(io::Worker::general, [&certificate, now] {
    return crypto::open_pkcs12(certificate.pkcs12.reveal(), certificate.password.reveal_text(), now);
  });
  if (!opened) co_return fail(opened.error());
  certificate = {.pkcs12 = {}, .password = {}, .opened = *std::move(opened)};
  co_return Status();
}

std::optional<TlsIdentity> identity_of(const crypto::CredentialRecord& credentials) {
  const crypto::CertificateCredentials* certificate = crypto::certificate_of(credentials);
  if (!certificate) return std::nullopt;
  return TlsIdentity{.private_key = certificate->opened.private_key.reveal(),
                     .chain = certificate->opened.chain.reveal()};
}

}  // namespace bellhop::service
