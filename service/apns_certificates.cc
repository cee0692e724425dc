// SPDX-License-Identifier: Apache-2.0
#include "service/apns_certificates.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/io.h"

namespace bellhop::service {
namespace {

Result<std::string> read_named(const std::string& path, const AppConfig& app, std::string_view key,
                               std::string& complaint) {
  auto content = io::read_file(path);
  if (!content) {
    complaint = fmt::format("{}: cannot be read: {}; tenant.app.{} must name the PEM file of the push app {}", path,
                            error_text(content.error()), key, app.topic);
  }
  return content;
}

bool same(const ApnsCertificate& a, const ApnsCertificate& b) {
  TlsIdentity one = a.identity.view(), other = b.identity.view();
  return std::ranges::equal(one.chain, other.chain) && equal_constant_time(one.private_key, other.private_key);
}

}  // namespace

Result<ApnsCertificateMap> read_apns_certificates(const Config& config, std::string& complaint) {
  ApnsCertificateMap certificates;
  for (const TenantConfig& tenant : config.tenants) {
    for (const AppConfig& app : tenant.apps) {
      if (!app.by_certificate() || certificates.contains(app.certificate_file)) continue;
      BH_TRY(std::string chain, read_named(app.certificate_file, app, "certificate_file", complaint));
      BH_TRY(std::string key, read_named(app.private_key_file, app, "private_key_file", complaint));
      auto identity =
          TlsOwnIdentity::read({app.certificate_file, chain}, {app.private_key_file, key}, complaint);
      wipe(key);
      if (!identity) return fail(identity.error());
      certificates.emplace(app.certificate_file, std::make_shared<const ApnsCertificate>(
                                                     ApnsCertificate{app.certificate_file, *std::move(identity)}));
    }
  }
  return certificates;
}

std::shared_ptr<const ApnsCertificate> ApnsCertificates::find(std::string_view file) const {
  std::lock_guard guard(lock_);
  for (const ApnsCertificateMap* map : {&current_, &previous_}) {
    if (auto found = map->find(file); found != map->end()) return found->second;
  }
  return nullptr;
}

void ApnsCertificates::replace(ApnsCertificateMap fresh) {
  std::lock_guard guard(lock_);
  for (auto& [file, certificate] : fresh) {
    auto known = current_.find(file);
    if (known != current_.end() && same(*known->second, *certificate)) certificate = known->second;
  }
  previous_ = std::move(current_);
  current_ = std::move(fresh);
  std::erase_if(previous_, [&](const auto& entry) { return current_.contains(entry.first); });
  version_.fetch_add(1, std::memory_order_release);
}

std::vector<std::shared_ptr<const ApnsCertificate>> ApnsCertificates::all() const {
  std::vector<std::shared_ptr<const ApnsCertificate>> certificates;
  std::lock_guard guard(lock_);
  for (const auto& [file, certificate] : current_) certificates.push_back(certificate);
  return certificates;
}

}  // namespace bellhop::service
