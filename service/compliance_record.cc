// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_record.h"

#include "core/base/check.h"

namespace bellhop::service {

std::string_view name_of(Known known) {
  switch (known) {
    case Known::unknown:
      return "unknown";
    case Known::no:
      return "no";
    case Known::yes:
      return "yes";
  }
  check_failed("a statement of the list", __FILE__, __LINE__);
}

std::string_view name_of(ComplianceOverride choice) {
  switch (choice) {
    case ComplianceOverride::none:
      return "none";
    case ComplianceOverride::allow:
      return "allow";
    case ComplianceOverride::block:
      return "block";
  }
  check_failed("an override of the list", __FILE__, __LINE__);
}

std::string_view name_of(ComplianceHold hold) {
  switch (hold) {
    case ComplianceHold::none:
      return "none";
    case ComplianceHold::blocked:
      return "blocked";
    case ComplianceHold::wiped:
      return "wiped";
  }
  check_failed("a hold of the list", __FILE__, __LINE__);
}

uint64_t account_word(const store::StoredUserId& account) {
  uint64_t word = load_be64(account.bytes.data());
  return word == 0 ? 1 : word;
}

void apply(const ComplianceLine& line, uint64_t account, WallTime now, ComplianceRecord& record) {
  auto take = [](const auto& from, auto& to) {
    if (from) to = *from;
  };
  record.first_name = {};
  if (line.account) record.account = account;
  take(line.managed, record.managed);
  take(line.compromised, record.compromised);
  take(line.encrypted, record.encrypted);
  take(line.activesync_profile, record.activesync_profile);
  take(line.override_to, record.override_to);
  take(line.model, record.model);
  take(line.os, record.os);
  take(line.os_version, record.os_version);
  take(line.device_type, record.device_type);
  take(line.mail_client, record.mail_client);
  take(line.last_contact, record.last_contact);
  record.updated = now;
}

}  // namespace bellhop::service
