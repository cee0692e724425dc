// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace bellhop::proto {

// What an EWS operation does, for allow-lists. Operations of the schema that are not listed, and names that are none, are
// `other`.
enum class EwsOperationGroup : uint8_t {
  notification,  // Subscribe, Unsubscribe, GetEvents, GetStreamingEvents
  read,
  write,
  sensitive,  // forwarding rules, delegates, add-ins, access tokens
  bulk,       // export and import, discovery search, holds, administration, telephony
  other,
};
// "notification", "read", ... as in the configuration.
std::string_view ews_operation_group_name(EwsOperationGroup group);
std::optional<EwsOperationGroup> ews_operation_group_of_name(std::string_view name);

struct EwsOperation {
  std::string_view name;
  EwsOperationGroup group;
};
// Sorted by name.
std::span<const EwsOperation> ews_operations();
// `name` is the element's: "GetItem". Letter case counts.
EwsOperationGroup ews_operation_group(std::string_view name);
bool is_ews_operation(std::string_view name);

}  // namespace bellhop::proto
