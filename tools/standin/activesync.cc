// SPDX-License-Identifier: Apache-2.0
#include "tools/standin/activesync.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "proto/ews.h"
#include "tools/standin/activesync_tags.h"

namespace bellhop::standin {
namespace {

struct Folder {
  std::string_view id, name;
  uint32_t type;  // MS-ASCMD 2.2.3.186.3
};
constexpr std::array kFolders = {Folder{kInboxCollection, "Inbox", 2}, Folder{"2", "Sent Items", 5},
                                 Folder{"3", "Calendar", 8}, Folder{"4", "Contacts", 9}};
constexpr uint64_t kAttachmentBytesMax = 256 * 1024 * 1024;
constexpr uint32_t kDefaultWindow = 100;

bool known_folder(std::string_view id) {
  return std::ranges::find(kFolders, id, &Folder::id) != kFolders.end();
}

uint64_t newest_item(const Mailbox& mailbox, std::string_view collection) {
  return collection == kInboxCollection && !mailbox.items.empty() ? mailbox.items.back().number : 0;
}

// The collections of a Sync request, or none.
std::vector<const WbxmlElement*> collections_of(const WbxmlElement& request) {
  std::vector<const WbxmlElement*> found;
  if (const WbxmlElement* list = request.find(airsync::kCollections)) {
    for (const WbxmlElement& one : list->children) {
      if (one.tag == airsync::kCollection) found.push_back(&one);
    }
  }
  return found;
}

enum class SyncKeyKind : uint8_t { first, current, repeated, wrong };

SyncKeyKind sync_key_kind(const ActiveSyncDevice& device, const WbxmlElement& asked) {
  auto key = asked.number_of(airsync::kSyncKey);
  if (!key) return SyncKeyKind::wrong;
  if (*key == 0) return SyncKeyKind::first;
  auto at = device.collections.find(std::string(asked.text_of(airsync::kCollectionId)));
  if (at == device.collections.end() || at->second.key == 0) return SyncKeyKind::wrong;
  if (*key == at->second.key) return SyncKeyKind::current;
  return *key + 1 == at->second.key && *key > 0 ? SyncKeyKind::repeated : SyncKeyKind::wrong;
}

void add_item(const StoredItem& item, WbxmlElement& commands) {
  WbxmlElement& added = commands.add(airsync::kAdd);
  added.add(airsync::kServerId, std::string(kInboxCollection) + ":" + std::to_string(item.number));
  WbxmlElement& data = added.add(airsync::kApplicationData);
  std::string from =
      item.sender_name.empty() ? item.sender_address : "\"" + item.sender_name + "\" <" + item.sender_address + ">";
  std::string received = proto::format_ews_time(item.received);
  if (!received.contains('.')) received.insert(received.size() - 1, ".000");
  data.add(email::kFrom, from);
  data.add(email::kSubject, item.subject);
  data.add(email::kDateReceived, received);
  data.add(email::kImportance, "1");
  data.add(email::kRead, item.read ? "1" : "0");
  data.add(email::kMessageClass, item.item_class);
}

// One Collection of the answer.
void answer_collection(const Mailbox& mailbox, ActiveSyncDevice& device, const WbxmlElement& asked,
                       WbxmlElement& answers) {
  std::string id(asked.text_of(airsync::kCollectionId));
  SyncKeyKind kind = sync_key_kind(device, asked);
  WbxmlElement& answer = answers.add(airsync::kCollection);
  if (!known_folder(id) || kind == SyncKeyKind::wrong) {
    answer.add(airsync::kSyncKey, "0");
    answer.add(airsync::kCollectionId, id);
    answer.add(airsync::kStatus, known_folder(id) ? "3" : "12");
    return;
  }
  ActiveSyncDevice::Collection& collection = device.collections[id];
  if (kind == SyncKeyKind::first) {
    collection = {.key = 1};
  } else {
    if (kind == SyncKeyKind::repeated) collection.synced = collection.before;
    if (kind == SyncKeyKind::current) ++collection.key;
    collection.before = collection.synced;
  }
  answer.add_number(airsync::kSyncKey, collection.key);
  answer.add(airsync::kCollectionId, id);
  answer.add(airsync::kStatus, "1");
  if (kind == SyncKeyKind::first || newest_item(mailbox, id) <= collection.synced) return;
  uint64_t window =
      std::clamp<uint64_t>(asked.number_of(airsync::kWindowSize).value_or(kDefaultWindow), 1, kSyncWindowMax);
  WbxmlElement commands{.tag = airsync::kCommands};
  auto at = std::ranges::upper_bound(mailbox.items, collection.synced, {}, &StoredItem::number);
  for (; at != mailbox.items.end() && commands.children.size() < window; ++at) {
    add_item(*at, commands);
    collection.synced = at->number;
  }
  if (at != mailbox.items.end()) answer.add(airsync::kMoreAvailable);
  answer.children.push_back(std::move(commands));
}

// The range of MS-ASCMD 2.2.3.84: HeartbeatInterval in seconds.
ActiveSyncWait checked_wait(uint64_t seconds, uint32_t seconds_min, uint32_t refusal) {
  if (seconds < seconds_min) return {.refused = refusal, .seconds = seconds_min};
  if (seconds > kHeartbeatSecondsMax) return {.refused = refusal, .seconds = kHeartbeatSecondsMax};
  return {.seconds = seconds};
}

}  // namespace

std::string_view remote_wipe_name(RemoteWipe wipe) {
  constexpr std::array<std::string_view, 4> kNames = {"none", "asked", "sent", "done"};
  return kNames[static_cast<size_t>(wipe)];
}

uint32_t provisioning_status(const ActiveSyncDevice& device, std::string_view command,
                             std::optional<uint32_t> policy_key, bool policy) {
  if (command == "Provision" || command == "Ping") return 0;  // Ping carries no policy key
  if (device.wipe == RemoteWipe::asked || device.wipe == RemoteWipe::sent) return kRemoteWipeRequested;
  if (!policy) return 0;
  return device.policy_key != 0 && policy_key == device.policy_key ? 0 : kDeviceNotProvisioned;
}

WbxmlElement activesync_status(std::string_view command, uint32_t status) {
  struct Root {
    std::string_view command;
    WbxmlTag root, status;
  };
  constexpr std::array kRoots = {Root{"Sync", airsync::kSync, airsync::kStatus},
                                 Root{"FolderSync", folder_hierarchy::kFolderSync, folder_hierarchy::kStatus},
                                 Root{"Ping", ping::kPing, ping::kStatus},
                                 Root{"Provision", provision::kProvision, provision::kStatus},
                                 Root{"Settings", settings::kSettings, settings::kStatus},
                                 Root{"SendMail", compose_mail::kSendMail, compose_mail::kStatus}};
  auto at = std::ranges::find(kRoots, command, &Root::command);
  Root root = at == kRoots.end() ? Root{command, item_operations::kItemOperations, item_operations::kStatus} : *at;
  WbxmlElement answer{.tag = root.root};
  answer.add_number(root.status, status);
  return answer;
}

WbxmlElement answer_folder_sync(ActiveSyncDevice& device, const WbxmlElement& request) {
  using namespace folder_hierarchy;
  auto key = request.number_of(folder_hierarchy::kSyncKey);
  if (!key || (*key != 0 && *key != device.folder_key)) return activesync_status("FolderSync", 9);
  if (*key == 0) ++device.folder_key;
  WbxmlElement answer = activesync_status("FolderSync", 1);
  answer.add_number(folder_hierarchy::kSyncKey, device.folder_key);
  WbxmlElement& changes = answer.add(kChanges);
  changes.add_number(kCount, *key == 0 ? kFolders.size() : 0);
  if (*key != 0) return answer;
  for (const Folder& folder : kFolders) {
    WbxmlElement& added = changes.add(folder_hierarchy::kAdd);
    added.add(folder_hierarchy::kServerId, folder.id);
    added.add(kParentId, "0");
    added.add(kDisplayName, folder.name);
    added.add_number(kType, folder.type);
  }
  return answer;
}

// The two phases of MS-ASPROV 3.1.5.1, or the wipe instead of both.
WbxmlElement answer_provision(ActiveSyncDevice& device, const WbxmlElement& request, uint32_t next_key) {
  using namespace provision;
  if (device.wipe == RemoteWipe::asked || device.wipe == RemoteWipe::sent) {
    const WbxmlElement* said = request.find(kRemoteWipe);
    WbxmlElement answer = activesync_status("Provision", 1);
    if (device.wipe == RemoteWipe::sent && said && said->text_of(provision::kStatus) == "1") {
      device.wipe = RemoteWipe::done;
      device.policy_key = device.temporary_key = 0;
      return answer;
    }
    device.wipe = RemoteWipe::sent;
    answer.add(kRemoteWipe);
    return answer;
  }
  const WbxmlElement* policies = request.find(kPolicies);
  const WbxmlElement* asked = policies ? policies->find(kPolicy) : nullptr;
  if (!asked) return activesync_status("Provision", 2);
  auto key = asked->number_of(kPolicyKey);
  bool acknowledges = key.has_value();
  WbxmlElement answer = activesync_status("Provision", 1);
  WbxmlElement& policy = answer.add(kPolicies).add(kPolicy);
  policy.add(kPolicyType, "MS-EAS-Provisioning-WBXML");
  if (acknowledges && (device.temporary_key == 0 || *key != device.temporary_key)) {
    policy.add(provision::kStatus, "5");  // acknowledges another key
    return answer;
  }
  policy.add(provision::kStatus, "1");
  policy.add_number(kPolicyKey, next_key);
  if (acknowledges) {
    device.policy_key = next_key;
    device.temporary_key = 0;
  } else {
    device.temporary_key = next_key;
    policy.add(kData).add(kProvisionDoc).add(kDevicePasswordEnabled, "0");
  }
  return answer;
}

WbxmlElement answer_settings(ActiveSyncDevice& device, const WbxmlElement& request) {
  using namespace settings;
  WbxmlElement answer = activesync_status("Settings", 1);
  const WbxmlElement* information = request.find(kDeviceInformation);
  const WbxmlElement* set = information ? information->find(kSet) : nullptr;
  if (!set) return answer;
  device.model = set->text_of(kModel);
  device.os = set->text_of(kOs);
  device.friendly_name = set->text_of(kFriendlyName);
  answer.add(kDeviceInformation).add(settings::kStatus, "1");
  return answer;
}

std::optional<std::string> attachment_content(std::string_view name) {
  constexpr std::string_view kPrefix = "size:";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  auto size = parse_decimal(name.substr(kPrefix.size()));
  if (!size || *size > kAttachmentBytesMax) return std::nullopt;
  // Of a length that is prime, so that a piece that is lost or repeated shows.
  constexpr size_t kPeriod = 251;
  std::string content(*size, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i % kPeriod);
  return content;
}

WbxmlElement answer_item_operations(const WbxmlElement& request) {
  using namespace item_operations;
  const WbxmlElement* fetch = request.find(item_operations::kFetch);
  if (!fetch) return activesync_status("ItemOperations", 2);
  WbxmlElement answer = activesync_status("ItemOperations", 1);
  WbxmlElement& fetched = answer.add(kResponse).add(item_operations::kFetch);
  std::string_view reference = fetch->text_of(air_sync_base::kFileReference);
  auto content = attachment_content(reference);
  fetched.add(item_operations::kStatus, content ? "1" : "15");
  fetched.add(air_sync_base::kFileReference, reference);
  if (!content) return answer;
  WbxmlElement& properties = fetched.add(kProperties);
  properties.add(air_sync_base::kContentType, "application/octet-stream");
  properties.add(kData, to_base64(as_bytes(*content)));
  return answer;
}

ActiveSyncWait sync_wait(const WbxmlElement& request, uint32_t seconds_min) {
  if (auto minutes = request.number_of(airsync::kWait)) {
    if (*minutes < 1 || *minutes > 59) return {.refused = 14, .seconds = *minutes < 1 ? 1u : 59u};
    return {.seconds = *minutes * 60};
  }
  auto seconds = request.number_of(airsync::kHeartbeatInterval);
  return seconds ? checked_wait(*seconds, seconds_min, 14) : ActiveSyncWait{};
}

ActiveSyncWait ping_wait(const WbxmlElement& request, uint32_t seconds_min) {
  return checked_wait(request.number_of(ping::kHeartbeatInterval).value_or(0), seconds_min, 5);
}

bool ping_sees_mail(const Mailbox& mailbox, const ActiveSyncDevice& device, const WbxmlElement& request) {
  const WbxmlElement* folders = request.find(ping::kFolders);
  if (!folders) return false;
  return std::ranges::any_of(folders->children, [&](const WbxmlElement& folder) {
    std::string id(folder.text_of(ping::kId));
    auto at = device.collections.find(id);
    return newest_item(mailbox, id) > (at == device.collections.end() ? 0 : at->second.synced);
  });
}

WbxmlElement answer_ping(const WbxmlElement& request, bool mail) {
  WbxmlElement answer = activesync_status("Ping", mail ? 2 : 1);
  if (!mail) return answer;
  WbxmlElement& folders = answer.add(ping::kFolders);
  for (const WbxmlElement& folder : request.find(ping::kFolders)->children) {
    if (folder.text_of(ping::kId) == kInboxCollection) folders.add(ping::kFolder, kInboxCollection);
  }
  return answer;
}

bool sync_has_news(const Mailbox& mailbox, const ActiveSyncDevice& device, const WbxmlElement& request) {
  return std::ranges::any_of(collections_of(request), [&](const WbxmlElement* asked) {
    std::string id(asked->text_of(airsync::kCollectionId));
    if (!known_folder(id) || sync_key_kind(device, *asked) != SyncKeyKind::current) return true;
    return newest_item(mailbox, id) > device.collections.at(id).synced;
  });
}

WbxmlElement answer_sync(const Mailbox& mailbox, ActiveSyncDevice& device, const WbxmlElement& request) {
  WbxmlElement answer{.tag = airsync::kSync};
  WbxmlElement& collections = answer.add(airsync::kCollections);
  for (const WbxmlElement* asked : collections_of(request)) answer_collection(mailbox, device, *asked, collections);
  return answer;
}

}  // namespace bellhop::standin
