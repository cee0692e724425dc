// SPDX-License-Identifier: Apache-2.0
#include "proto/wbxml_peek.h"

#include <algorithm>
#include <array>

#include "core/base/check.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

// WBXML 1.3, public identifier unknown, UTF-8, no string table (MS-ASWBXML 2.1.2.1).
constexpr std::array<uint8_t, 4> kHead = {0x03, 0x01, 0x6a, 0x00};
constexpr uint8_t kSwitchPage = 0x00;
constexpr uint8_t kHasContent = 0x40;

struct Root {
  ActiveSyncCommand command;
  uint8_t page, token;
};
// MS-ASWBXML 2.1.2.1. GetAttachment has no body.
constexpr std::array kRoots = {
    Root{ActiveSyncCommand::sync, 0, 0x05},
    Root{ActiveSyncCommand::send_mail, 21, 0x05},
    Root{ActiveSyncCommand::smart_forward, 21, 0x06},
    Root{ActiveSyncCommand::smart_reply, 21, 0x07},
    Root{ActiveSyncCommand::folder_sync, 7, 0x16},
    Root{ActiveSyncCommand::folder_create, 7, 0x13},
    Root{ActiveSyncCommand::folder_delete, 7, 0x14},
    Root{ActiveSyncCommand::folder_update, 7, 0x15},
    Root{ActiveSyncCommand::move_items, 5, 0x05},
    Root{ActiveSyncCommand::get_item_estimate, 6, 0x05},
    Root{ActiveSyncCommand::meeting_response, 8, 0x07},
    Root{ActiveSyncCommand::search, 15, 0x05},
    Root{ActiveSyncCommand::settings, 18, 0x05},
    Root{ActiveSyncCommand::ping, 13, 0x05},
    Root{ActiveSyncCommand::item_operations, 20, 0x05},
    Root{ActiveSyncCommand::provision, 14, 0x05},
    Root{ActiveSyncCommand::resolve_recipients, 10, 0x05},
    Root{ActiveSyncCommand::validate_cert, 11, 0x05},
    Root{ActiveSyncCommand::find, 25, 0x05},
};

bool may_be_mime(ActiveSyncCommand command) {
  return command == ActiveSyncCommand::send_mail || command == ActiveSyncCommand::smart_forward ||
         command == ActiveSyncCommand::smart_reply;
}

std::unexpected<Error> refuse() { return fail(gateway_error(GatewayError::wbxml)); }

}  // namespace

Result<bool> check_wbxml_root(ActiveSyncCommand command, Bytes head, bool ended) {
  if (head.empty()) return ended;
  const auto root = std::ranges::find(kRoots, command, &Root::command);
  if (root == kRoots.end()) return refuse();
  if (may_be_mime(command) && head[0] != kHead[0]) return true;
  const size_t compared = std::min(head.size(), kHead.size());
  if (!std::ranges::equal(head.first(compared), Bytes(kHead).first(compared))) return refuse();
  Bytes rest = head.subspan(compared);
  // What is missing is asked for; a body that ends before its root is none.
  const auto more = [ended]() -> Result<bool> {
    if (ended) return refuse();
    return false;
  };
  if (rest.empty()) return more();
  uint8_t page = 0;
  if (rest[0] == kSwitchPage) {
    if (rest.size() < 3) return more();
    page = rest[1];
    rest = rest.subspan(2);
  }
  if (page != root->page || (rest[0] & ~kHasContent & 0xff) != root->token) return refuse();
  return true;
}

}  // namespace bellhop::proto
