// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_operations.h"

#include <algorithm>
#include <array>

#include "core/base/check.h"

namespace bellhop::proto {
namespace {

using enum EwsOperationGroup;

struct GroupName {
  EwsOperationGroup group;
  std::string_view name;
};
constexpr std::array kGroups = {GroupName{notification, "notification"}, GroupName{read, "read"},
                                GroupName{write, "write"},               GroupName{sensitive, "sensitive"},
                                GroupName{bulk, "bulk"},                 GroupName{other, "other"}};

// The operations of services.wsdl, by name.
constexpr EwsOperation kOperations[] = {
    {"AddDelegate", sensitive},
    {"AddDistributionGroupToImList", write},
    {"AddImContactToGroup", write},
    {"AddImGroup", write},
    {"AddNewImContactToGroup", write},
    {"AddNewTelUriContactToGroup", write},
    {"AddTag", write},
    {"ApplyConversationAction", write},
    {"ArchiveItem", write},
    {"ConvertId", read},
    {"CopyFolder", write},
    {"CopyItem", write},
    {"CreateAttachment", write},
    {"CreateFolder", write},
    {"CreateFolderPath", write},
    {"CreateItem", write},
    {"CreateManagedFolder", write},
    {"CreateMeetingInstance", write},
    {"CreateMeetingSpace", write},
    {"CreateOrUpdateFocusedOtherOverride", write},
    {"CreateUserConfiguration", write},
    {"DeleteAttachment", write},
    {"DeleteFocusedOtherOverride", write},
    {"DeleteFolder", write},
    {"DeleteItem", write},
    {"DeleteMeetingInstance", write},
    {"DeleteMeetingSpace", write},
    {"DeleteSearchSuggestion", write},
    {"DeleteUserConfiguration", write},
    {"DisableApp", sensitive},
    {"DisconnectPhoneCall", bulk},
    {"EmptyFolder", write},
    {"EndSearchSession", read},
    {"ExecuteSearch", read},
    {"ExpandDL", read},
    {"ExportItems", bulk},
    {"FindAvailableMeetingTimes", read},
    {"FindConversation", read},
    {"FindFolder", read},
    {"FindItem", read},
    {"FindMailboxStatisticsByKeywords", bulk},
    {"FindMeetingSpaceByJoinUrl", read},
    {"FindMeetingTimeCandidates", read},
    {"FindMessageTrackingReport", bulk},
    {"FindPeople", read},
    {"FindTags", read},
    {"GetAppManifests", sensitive},
    {"GetAppMarketplaceUrl", sensitive},
    {"GetAttachment", read},
    {"GetClientAccessToken", sensitive},
    {"GetConversationItems", read},
    {"GetDelegate", read},
    {"GetDiscoverySearchConfiguration", bulk},
    {"GetEvents", notification},
    {"GetFocusedOtherOverrides", read},
    {"GetFolder", read},
    {"GetHoldOnMailboxes", bulk},
    {"GetImItemList", read},
    {"GetImItems", read},
    {"GetInboxRules", read},
    {"GetItem", read},
    {"GetLastPrivateCatalogUpdate", sensitive},
    {"GetMailTips", read},
    {"GetMeetingInstance", read},
    {"GetMeetingSpace", read},
    {"GetMessageTrackingReport", bulk},
    {"GetNonIndexableItemDetails", bulk},
    {"GetNonIndexableItemStatistics", bulk},
    {"GetPasswordExpirationDate", read},
    {"GetPersona", read},
    {"GetPhoneCallInformation", bulk},
    {"GetPrivateCatalogAddIns", sensitive},
    {"GetReminders", read},
    {"GetRoomLists", read},
    {"GetRooms", read},
    {"GetSearchSuggestions", read},
    {"GetSearchableMailboxes", bulk},
    {"GetServerTimeZones", read},
    {"GetServiceConfiguration", read},
    {"GetSharingFolder", read},
    {"GetSharingMetadata", read},
    {"GetSpecificUserConfiguration", read},
    {"GetStreamingEvents", notification},
    {"GetUserAvailability", read},
    {"GetUserConfiguration", read},
    {"GetUserOofSettings", read},
    {"GetUserPhoto", read},
    {"GetUserRetentionPolicyTags", read},
    {"HideTag", write},
    {"InstallApp", sensitive},
    {"MarkAllItemsAsRead", write},
    {"MarkAsJunk", write},
    {"MoveFolder", write},
    {"MoveItem", write},
    {"PerformReminderAction", write},
    {"PlayOnPhone", bulk},
    {"RefreshSharingFolder", write},
    {"RegisterConsent", sensitive},
    {"RemoveContactFromImList", write},
    {"RemoveDelegate", sensitive},
    {"RemoveDistributionGroupFromImList", write},
    {"RemoveImContactFromGroup", write},
    {"RemoveImGroup", write},
    {"ReportMessage", write},
    {"ResolveNames", read},
    {"SearchMailboxes", bulk},
    {"SendItem", write},
    {"SetHoldOnMailboxes", bulk},
    {"SetImGroup", write},
    {"SetImListMigrationCompleted", write},
    {"SetTeamMailbox", bulk},
    {"SetUserOofSettings", write},
    {"SetUserPhoto", write},
    {"StartSearchSession", read},
    {"Subscribe", notification},
    {"SyncFolderHierarchy", read},
    {"SyncFolderItems", read},
    {"UninstallApp", sensitive},
    {"UnpinTeamMailbox", bulk},
    {"Unsubscribe", notification},
    {"UpdateDelegate", sensitive},
    {"UpdateFolder", write},
    {"UpdateInboxRules", sensitive},
    {"UpdateItem", write},
    {"UpdateItemInRecoverableItems", write},
    {"UpdateMeetingInstance", write},
    {"UpdateMeetingSpace", write},
    {"UpdateUserConfiguration", write},
    {"UploadItems", bulk},
};
static_assert(std::ranges::is_sorted(kOperations, {}, &EwsOperation::name));

const EwsOperation* find_operation(std::string_view name) {
  const auto* found = std::ranges::lower_bound(kOperations, name, {}, &EwsOperation::name);
  return found != std::end(kOperations) && found->name == name ? found : nullptr;
}

}  // namespace

std::string_view ews_operation_group_name(EwsOperationGroup group) {
  const auto found = std::ranges::find(kGroups, group, &GroupName::group);
  BH_CHECK(found != kGroups.end());
  return found->name;
}

std::optional<EwsOperationGroup> ews_operation_group_of_name(std::string_view name) {
  const auto found = std::ranges::find(kGroups, name, &GroupName::name);
  return found == kGroups.end() ? std::nullopt : std::optional(found->group);
}

std::span<const EwsOperation> ews_operations() { return kOperations; }

EwsOperationGroup ews_operation_group(std::string_view name) {
  const EwsOperation* found = find_operation(name);
  return found ? found->group : EwsOperationGroup::other;
}

bool is_ews_operation(std::string_view name) { return find_operation(name) != nullptr; }

}  // namespace bellhop::proto
