// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "proto/device_key.h"
#include "proto/http.h"

namespace bellhop::proto {

// The commands of MS-ASCMD that a query can name; the number is the code of the base64 form (MS-ASHTTP 2.2.1.1.1.1.2).
// 5 to 8 are retired.
enum class ActiveSyncCommand : uint8_t {
  sync = 0,
  send_mail = 1,
  smart_forward = 2,
  smart_reply = 3,
  get_attachment = 4,
  folder_sync = 9,
  folder_create = 10,
  folder_delete = 11,
  folder_update = 12,
  move_items = 13,
  get_item_estimate = 14,
  meeting_response = 15,
  search = 16,
  settings = 17,
  ping = 18,
  item_operations = 19,
  provision = 20,
  resolve_recipients = 21,
  validate_cert = 22,
  find = 23,
};
// "Sync", "FolderSync", ...
std::string_view activesync_command_name(ActiveSyncCommand command);
std::optional<ActiveSyncCommand> activesync_command_of_name(std::string_view name);  // letter case counts

// Who asks for what: the query of a request to /Microsoft-Server-ActiveSync in either form (MS-ASHTTP 2.2.1.1.1).
struct ActiveSyncQuery {
  static constexpr size_t kDeviceIdBytesMax = 64;
  static constexpr size_t kDeviceTypeBytesMax = 64;
  static constexpr size_t kUserBytesMax = 256;

  bool base64 = false;  // the form
  std::optional<ActiveSyncCommand> command;  // always there with POST; OPTIONS may have none
  std::string user;         // decoded, as it was spelled; empty: none
  std::string device_id;    // decoded; in the base64 form raw bytes, perhaps not printable. Empty: none (OPTIONS)
  DeviceKey device;         // of device_id, where there is one
  std::string device_type;  // decoded; empty where device_id is
  uint8_t protocol_version = 0;        // 121, 140, ...; 0 in the plain form, where a header field has it
  std::optional<uint32_t> policy_key;  // of the base64 form

  bool has_device() const { return !device_id.empty(); }
  // Ping and Sync may stay unanswered for 59 minutes.
  bool may_hang() const { return command == ActiveSyncCommand::ping || command == ActiveSyncCommand::sync; }
};

// Reads a query in one way only. Which form it is: base64 where it has no "&" and is nothing but canonical base64 of a
// consistent record, else plain. `query` without the "?", as it was sent. Decodes once.
//
// OPTIONS may come without a query, or with part of one. Errors: query_malformed; ambiguous (a parameter or tag twice in
// any letter case, an escaped name, both forms at once, escapes in the base64 form, "+", ";" or "," in what tells who
// asks, a value that is still escaped after decoding); parameter; command; device_missing.
Result<ActiveSyncQuery> parse_activesync_query(HttpMethod method, std::string_view query);

}  // namespace bellhop::proto
