// SPDX-License-Identifier: Apache-2.0
#include "service/kerberos_health.h"

#include "service/kerberos_error.h"

namespace bellhop::service {
namespace {

enum class Says : uint8_t { trouble, answer, nothing };

// What an error says of the realm's KDCs.
Says says_of(const Error& error) {
  if (error.domain != Domain::kerberos) return Says::nothing;
  switch (static_cast<KerberosError>(error.code)) {
    case KerberosError::keytab:
    case KerberosError::service_logon:
    case KerberosError::clock:
    case KerberosError::realm_unknown:
    case KerberosError::unreachable: return Says::trouble;
    case KerberosError::user_unknown:
    case KerberosError::user_refused:
    case KerberosError::service_unknown:
    case KerberosError::delegation_refused: return Says::answer;
    case KerberosError::library_missing:
    case KerberosError::name_malformed:
    case KerberosError::busy:
    case KerberosError::off:
    case KerberosError::ticket_expired:
    case KerberosError::protocol: return Says::nothing;
  }
  return Says::nothing;
}

}  // namespace

void KerberosHealth::count(std::string_view service, const std::optional<Error>& error, WallTime now) {
  std::lock_guard lock(mutex_);
  auto found = services_.find(service);
  if (found == services_.end()) {
    if (services_.size() >= kServicesMax) return;
    found = services_.try_emplace(std::string(service)).first;
    found->second.name = service;
  }
  Service& one = found->second;
  one.failing = error.has_value();
  if (!error) {
    ++one.tokens;
    one.last_token = now;
    return;
  }
  ++one.failures;
  one.last_failure = now;
  one.last_error = *error;
}

void KerberosHealth::asked(std::string_view realm, const std::optional<Error>& error, WallTime now) {
  Says says = error ? says_of(*error) : Says::answer;
  if (says == Says::nothing) return;
  std::lock_guard lock(mutex_);
  auto found = troubles_.find(realm);
  if (says == Says::answer) {
    if (found != troubles_.end()) troubles_.erase(found);
    return;
  }
  if (found == troubles_.end()) {
    if (troubles_.size() >= kRealmsMax) return;
    found = troubles_.try_emplace(std::string(realm), Trouble{.realm = std::string(realm), .since = now}).first;
  }
  found->second.last = now;
  found->second.error = *error;
}

std::vector<KerberosHealth::Service> KerberosHealth::services() const {
  std::lock_guard lock(mutex_);
  std::vector<Service> all;
  for (const auto& [name, one] : services_) all.push_back(one);
  return all;
}

std::vector<KerberosHealth::Trouble> KerberosHealth::troubles() const {
  std::lock_guard lock(mutex_);
  std::vector<Trouble> all;
  for (const auto& [name, one] : troubles_) all.push_back(one);
  return all;
}

size_t KerberosHealth::realms_in_trouble() const {
  std::lock_guard lock(mutex_);
  return troubles_.size();
}

}  // namespace bellhop::service
