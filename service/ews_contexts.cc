// SPDX-License-Identifier: Apache-2.0
#include "service/ews_contexts.h"

#include <algorithm>
#include <vector>

#include "core/base/check.h"
#include "core/io.h"
#include "crypto/error.h"
#include "crypto/hash.h"
#include "proto/gateway_target.h"
#include "service/compliance_record.h"
#include "service/ews_client.h"

namespace bellhop::service {
namespace {

constexpr std::string_view kKeyPrefix = "key:";

// The mailbox's address, or the name that logs on to it where the envelope had no room for the address.
std::string_view user_of(const crypto::CredentialRecord& record) {
  if (!record.address.empty()) return record.address.reveal_text();
  if (const auto* basic = std::get_if<crypto::BasicCredentials>(&record.logon)) return basic->username.reveal_text();
  if (const auto* dual = std::get_if<crypto::DualCredentials>(&record.logon)) return dual->basic.username.reveal_text();
  return {};
}

}  // namespace

std::string context_device(const store::ComplianceKey& device) { return std::string(kKeyPrefix) + to_hex(device); }

store::ComplianceKey context_device_key(std::string_view text) {
  if (text.starts_with(kKeyPrefix)) {
    auto bytes = from_hex(text.substr(kKeyPrefix.size()));
    if (bytes && bytes->size() == store::ComplianceKey::kBytes) return store::ComplianceKey::from(*bytes);
  }
  return compliance_key(text);
}

Task<Result<std::string>> EwsContexts::field(const EwsTarget& target, std::string_view authorization, std::string_view body) {
  BH_CHECK(target.owner != nullptr);
  const EwsOwner& owner = *target.owner;
  std::shared_ptr<const GatewayKeys> keys = keys_;  // a reload may come while the store is read
  BH_CO_TRY(std::vector<store::DeviceEntry> devices, co_await store_.read_devices(owner.user));
  store::ComplianceKey source = owner.asking;
  std::vector<store::ComplianceKey> names;
  for (const store::DeviceEntry& device : devices) {
    if (device.record.name.zero()) continue;
    if (device.key == owner.source && source.zero()) source = device.record.name;
    names.push_back(device.record.name);
  }
  if (!source.zero()) {
    std::erase(names, source);
    names.insert(names.begin(), source);
  }
  if (names.size() > crypto::GatewayContext::kDevicesMax) names.resize(crypto::GatewayContext::kDevicesMax);
  crypto::GatewayContext context{.tenant = target.tenant->config.id,
                                 .user = std::string(user_of(*target.credentials)),
                                 .source_device = source.zero() ? std::string() : context_device(source),
                                 .issued_at = io::wall_now(),
                                 .body_hash = crypto::sha256(body)};
  for (const store::ComplianceKey& name : names) context.devices.push_back(context_device(name));
  Result<std::string> field = keys->contexts.sign(context, {.method = "POST",
                                                            .target = proto::canonical_path(proto::GatewayEndpoint::ews),
                                                            .authorization = authorization});
  wipe(context.user);
  co_return field;
}

}  // namespace bellhop::service
