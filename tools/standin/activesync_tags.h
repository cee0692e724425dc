// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/standin/wbxml.h"

// The tags of MS-ASWBXML's code pages that the stand-in reads or writes. One namespace a page, with the page's name.
namespace bellhop::standin {

namespace airsync {
inline constexpr WbxmlTag kSync{0, 0x05}, kAdd{0, 0x07}, kChange{0, 0x08}, kDelete{0, 0x09}, kSyncKey{0, 0x0b},
    kServerId{0, 0x0d}, kStatus{0, 0x0e}, kCollection{0, 0x0f}, kClass{0, 0x10}, kCollectionId{0, 0x12},
    kGetChanges{0, 0x13}, kMoreAvailable{0, 0x14}, kWindowSize{0, 0x15}, kCommands{0, 0x16}, kCollections{0, 0x1c},
    kApplicationData{0, 0x1d}, kWait{0, 0x24}, kLimit{0, 0x25}, kHeartbeatInterval{0, 0x29};
}
namespace email {
inline constexpr WbxmlTag kDateReceived{2, 0x0f}, kImportance{2, 0x12}, kMessageClass{2, 0x13}, kSubject{2, 0x14},
    kRead{2, 0x15}, kFrom{2, 0x18};
}
namespace folder_hierarchy {
inline constexpr WbxmlTag kDisplayName{7, 0x07}, kServerId{7, 0x08}, kParentId{7, 0x09}, kType{7, 0x0a},
    kStatus{7, 0x0c}, kChanges{7, 0x0e}, kAdd{7, 0x0f}, kSyncKey{7, 0x12}, kFolderSync{7, 0x16}, kCount{7, 0x17};
}
namespace ping {
inline constexpr WbxmlTag kPing{13, 0x05}, kStatus{13, 0x07}, kHeartbeatInterval{13, 0x08}, kFolders{13, 0x09},
    kFolder{13, 0x0a}, kId{13, 0x0b}, kClass{13, 0x0c}, kMaxFolders{13, 0x0d};
}
namespace provision {
inline constexpr WbxmlTag kProvision{14, 0x05}, kPolicies{14, 0x06}, kPolicy{14, 0x07}, kPolicyType{14, 0x08},
    kPolicyKey{14, 0x09}, kData{14, 0x0a}, kStatus{14, 0x0b}, kRemoteWipe{14, 0x0c}, kProvisionDoc{14, 0x0d},
    kDevicePasswordEnabled{14, 0x0e};
}
namespace settings {
inline constexpr WbxmlTag kSettings{18, 0x05}, kStatus{18, 0x06}, kSet{18, 0x08}, kDeviceInformation{18, 0x16},
    kModel{18, 0x17}, kFriendlyName{18, 0x19}, kOs{18, 0x1a};
}
namespace item_operations {
inline constexpr WbxmlTag kItemOperations{20, 0x05}, kFetch{20, 0x06}, kStore{20, 0x07}, kProperties{20, 0x0b},
    kData{20, 0x0c}, kStatus{20, 0x0d}, kResponse{20, 0x0e};
}
namespace air_sync_base {
inline constexpr WbxmlTag kFileReference{17, 0x11}, kContentType{17, 0x17};
}
namespace compose_mail {
inline constexpr WbxmlTag kSendMail{21, 0x05}, kMime{21, 0x10}, kClientId{21, 0x11}, kStatus{21, 0x12};
}

}  // namespace bellhop::standin
