// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/base/time.h"
#include "tools/standin/exchange_model.h"
#include "tools/standin/wbxml.h"

// ActiveSync of the stand-in as plain data (MS-ASCMD, MS-ASPROV): what a server keeps of a device, and its answers. No
// I/O, no clock. Mail in the Inbox arrives by Sync; changes of what was synchronised, and items of other folders, there
// are none.
namespace bellhop::standin {

inline constexpr std::string_view kInboxCollection = "1";
inline constexpr std::string_view kActiveSyncVersions = "2.5,12.0,12.1,14.0,14.1,16.0,16.1";
inline constexpr std::string_view kActiveSyncCommands =
    "Sync,SendMail,SmartForward,SmartReply,GetAttachment,FolderSync,Settings,Ping,ItemOperations,Provision";
inline constexpr std::string_view kWbxmlType = "application/vnd.ms-sync.wbxml";
inline constexpr uint32_t kHeartbeatSecondsMax = 3540;
inline constexpr uint32_t kPingFoldersMax = 200;
inline constexpr uint32_t kSyncWindowMax = 512;

// Common status codes, MS-ASCMD 2.2.2.
inline constexpr uint32_t kDeviceNotProvisioned = 142, kRemoteWipeRequested = 140, kTooManyPartnerships = 177;

enum class RemoteWipe : uint8_t { none, asked, sent, done };
std::string_view remote_wipe_name(RemoteWipe wipe);

struct ActiveSyncDevice {
  struct Collection {
    uint64_t key = 0;     // the last SyncKey given; 0: none
    uint64_t synced = 0;  // the newest item that it covers
    uint64_t before = 0;  // that the key before it covered: an answer may be lost
  };
  std::string id, type, user_agent;
  std::string model, os, friendly_name;  // as its Settings said
  uint64_t commands = 0;
  uint32_t policy_key = 0;     // 0: not provisioned
  uint32_t temporary_key = 0;  // given, and not acknowledged yet
  RemoteWipe wipe = RemoteWipe::none;
  uint64_t folder_key = 0;
  std::map<std::string, Collection> collections;
  WbxmlElement last_ping, last_sync;  // an empty request repeats these; tag 0:0: none yet
};

// Whether the device must come by Provision first, and the status that says so; 0: it need not. `policy`: the server
// asks for one.
uint32_t provisioning_status(const ActiveSyncDevice& device, std::string_view command,
                             std::optional<uint32_t> policy_key, bool policy);

// An answer of the command's own root that has nothing but a status.
WbxmlElement activesync_status(std::string_view command, uint32_t status);

WbxmlElement answer_folder_sync(ActiveSyncDevice& device, const WbxmlElement& request);
// `next_key`: not 0, and never the same for a device.
WbxmlElement answer_provision(ActiveSyncDevice& device, const WbxmlElement& request, uint32_t next_key);
WbxmlElement answer_settings(ActiveSyncDevice& device, const WbxmlElement& request);
// Content of a file reference or attachment name "size:N": N bytes of a pattern. Nothing for other names.
std::optional<std::string> attachment_content(std::string_view name);
WbxmlElement answer_item_operations(const WbxmlElement& request);

// A request that may wait for mail. `seconds` = 0: it does not.
struct ActiveSyncWait {
  uint32_t refused = 0;  // the interval is out of range: the status; `seconds` is then the limit
  uint64_t seconds = 0;
};
ActiveSyncWait sync_wait(const WbxmlElement& request, uint32_t seconds_min);
ActiveSyncWait ping_wait(const WbxmlElement& request, uint32_t seconds_min);

// True where mail arrived that the device has not seen, in a folder of the Ping.
bool ping_sees_mail(const Mailbox& mailbox, const ActiveSyncDevice& device, const WbxmlElement& request);
WbxmlElement answer_ping(const WbxmlElement& request, bool mail);

// True where a Sync answers at once: mail arrived, or a key is 0 or wrong.
bool sync_has_news(const Mailbox& mailbox, const ActiveSyncDevice& device, const WbxmlElement& request);
// Advances the keys of what it answers.
WbxmlElement answer_sync(const Mailbox& mailbox, ActiveSyncDevice& device, const WbxmlElement& request);

}  // namespace bellhop::standin
