// SPDX-License-Identifier: Apache-2.0
#include "service/client_certificates.h"

#include <algorithm>
#include <array>

#include "core/io.h"

namespace bellhop::service {

Result<std::shared_ptr<const ClientCertificates>> ClientCertificates::read(const CertificatesConfig& config,
                                                                          std::string& complaint) {
  auto content = [&](const std::string& path) {
    Result<std::string> text = io::read_file(path);
    if (!text) complaint = path + ": " + error_text(text.error());
    return text;
  };
  std::shared_ptr<ClientCertificates> out(new ClientCertificates);
  out->config_ = config;
  BH_TRY(std::string authorities, content(config.ca_file));
  std::array<TlsFile, 1> file = {{{config.ca_file, authorities}}};
  BH_TRY(out->authorities_, TlsAuthorities::parse(file, complaint));
  if (!config.crl_file.empty()) {
    BH_TRY(std::string lists, content(config.crl_file));
    file = {{{config.crl_file, lists}}};
    BH_TRY(out->revocations_, TlsRevocations::parse(file, *out->authorities_, complaint));
  }
  return out;
}

void ClientCertificates::apply_to(TlsServerOptions& options) const {
  switch (config_.logon) {
    case CertificateLogon::none: options.client_auth = TlsClientAuth::none; return;
    case CertificateLogon::optional: options.client_auth = TlsClientAuth::optional; break;
    case CertificateLogon::required: options.client_auth = TlsClientAuth::required; break;
  }
  options.client_authorities = authorities_;
  options.client_revocations = revocations_;
  options.client_use_stated = true;
}

Status ClientCertificates::check(Bytes certificate, WallTime now) const {
  BH_TRY(CertificateLife life, certificate_life(certificate));
  if (now < life.from) return fail(tls_error(TlsError::certificate_not_yet_valid));
  if (now > life.to) return fail(tls_error(TlsError::certificate_expired));
  if (!revocations_) return {};
  BH_CHECKED(revocations_->check_again(certificate));
  WallTime until = revocations_->next_update();
  bool stale = until != WallTime::max() && now - until > std::chrono::hours(config_.crl_stale_hours_max);
  if (stale) return fail(tls_error(TlsError::certificate_revocations_stale));
  return {};
}

bool ClientCertificates::takes_user(std::string_view user_principal_name) const {
  size_t at = user_principal_name.rfind('@');
  if (at == std::string_view::npos) return false;
  std::string_view domain = user_principal_name.substr(at + 1);
  return std::ranges::any_of(config_.user_domains, [&](const std::string& one) { return ascii_equal_ignoring_case(one, domain); });
}

WallTime ClientCertificates::next_update() const {
  return revocations_ ? revocations_->next_update() : WallTime::max();
}

}  // namespace bellhop::service
