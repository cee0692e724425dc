// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/device_key.h"
#include "store/records.h"

namespace bellhop::service {

using store::ComplianceHold;
using store::ComplianceOverride;
using store::ComplianceRecord;
using store::Known;

// One line of compliance data, as PUT, PATCH, a file or a UEM brings it. Names devices and accounts as they are spelled
// outside; only hashes of both are kept. What is absent stays as it was (delta), or is not known (bulk).
struct ComplianceLine {
  std::string device_id;               // ActiveSync's DeviceId or bellhop's deviceId, in any of its spellings
  std::vector<std::string> other_ids;  // further names of the same device, at most kOtherIdsMax
  bool removed = false;                // delta: nothing is known of it any more
  bool wiped = false;                  // a hold by name, which no later line lifts
  std::optional<std::string> account;  // its owner's address; empty: forgotten
  std::optional<Known> managed;
  std::optional<Known> compromised;
  std::optional<Known> encrypted;
  std::optional<Known> activesync_profile;
  std::optional<ComplianceOverride> override_to;
  std::optional<std::string> model;
  std::optional<std::string> os;
  std::optional<std::string> os_version;
  std::optional<std::string> device_type;
  std::optional<std::string> mail_client;
  std::optional<WallTime> last_contact;
};
inline constexpr size_t kOtherIdsMax = 4;
inline constexpr size_t kDeviceIdSizeMax = 256;
inline constexpr size_t kAccountSizeMax = 320;

std::string_view name_of(Known known);                // "unknown", "no", "yes"
std::string_view name_of(ComplianceOverride choice);  // "none", "allow", "block"
std::string_view name_of(ComplianceHold hold);        // "none", "blocked", "wiped"

// The same 16 bytes: proto and store do not know each other.
inline store::ComplianceKey compliance_key(const proto::DeviceKey& key) {
  store::ComplianceKey stored;
  std::memcpy(stored.bytes.data(), key.bytes.data(), stored.bytes.size());
  return stored;
}
// Of a device by what it is called outside, in any spelling.
inline store::ComplianceKey compliance_key(std::string_view device_id) {
  return compliance_key(proto::device_key(device_id));
}
// What a record knows its owner by; never 0.
uint64_t account_word(const store::StoredUserId& account);

// What the line says, over what was there; `account`: of the line's account, 0 where it is empty.
void apply(const ComplianceLine& line, uint64_t account, WallTime now, ComplianceRecord& record);

}  // namespace bellhop::service
