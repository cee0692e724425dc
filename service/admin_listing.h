// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the admin listings share: the query, the page, and how a user, device or subscription is shown. For
// service/admin*.cc alone.

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/json_writer.h"
#include "service/admin_parts.h"
#include "service/subscription_health.h"
#include "service/supervision.h"

namespace bellhop::service::admin {

// A listing reads the store in short transactions of kRowsPerRead rows, lets others run between them, and gives up
// looking for more matches after kReadsMax of them: the answer then holds what was found, and the cursor to go on from.
inline constexpr size_t kRowsPerRead = 64;
inline constexpr size_t kReadsMax = 64;
inline constexpr size_t kPageDefault = 100;
inline constexpr size_t kPageMax = 256;

// name=value pairs of a query, values unescaped.
struct Parameters {
  std::vector<std::pair<std::string_view, std::string>> all;
  std::optional<std::string_view> find(std::string_view name) const;
};
// `names`: those that there are. On failure `complaint` says what is wrong.
bool read_parameters(std::string_view query, std::span<const std::string_view> names, Parameters& parameters,
                     std::string& complaint);

// The query of a listing, checked. An unknown or repeated name is refused, so that a slip never lists everything.
struct ListQuery {
  const Tenant* tenant = nullptr;         // `tenant`
  std::optional<store::StoredUserId> user;  // `user`, the stored id; or `userId`, which needs `tenant`
  std::string device_id;                  // `deviceId`, as the device calls itself; needs a user
  std::string_view state;                 // `state`
  std::string host;                       // `host`
  bool all = false;                       // `all`: "true"
  std::string after;                      // `after`: the cursor, as bytes; empty: from the first
  size_t limit = kPageDefault;            // `limit`
};
// On failure `complaint` says what is wrong. `names`: the parameters that this listing has; `cursor_bytes`: the size of
// its cursor; `states`: what `state` may be.
std::optional<ListQuery> read_query(const Call& call, std::initializer_list<std::string_view> names, size_t cursor_bytes,
                                    std::span<const std::string_view> states, std::string& complaint);

// An id of the path as bytes; nothing where it is not `size` bytes in hex.
template <class I>
std::optional<I> read_id(std::string_view text) {
  auto bytes = from_hex(text);
  if (!bytes || bytes->size() != I::kBytes) return std::nullopt;
  return I::from(*bytes);
}

// What the home core of a mailbox knows of Exchange's callbacks; awaits it for each.
struct Contact {
  store::MailboxNumber mailbox = 0;
  store::StoredUserId user;
  WallTime last_seen{};  // the answer; the epoch where there was none
  Supervised supervised{};
};
Task<void> read_contacts(Core& core, std::vector<Contact>& contacts);

// A user with all that is the user's.
struct WholeUser {
  store::UserRecord user;
  std::vector<store::DeviceEntry> devices;
  std::vector<store::SubscriptionEntry> subscriptions;  // living ones
};
// Errors: not_found, and what reading the store may meet.
Task<Result<WholeUser>> read_whole_user(Core& core, store::StoredUserId id);

// ---- How they are shown ----
inline constexpr std::string_view kHealthNames[] = {"pending", "active", "late", "lost"};
constexpr std::string_view name_of(SubscriptionHealth health) { return kHealthNames[size_t(health)]; }

// The host of a subscription's EWS URL, with the port where it names one.
std::string_view ews_host(const store::SubscriptionRecord& record);

// The members, without the braces, so that more may follow.
void append_user(proto::JsonWriter& json, const Core& core, const store::StoredUserId& id, const store::UserRecord& user);
void append_device(proto::JsonWriter& json, const Core& core, const store::DevicePlace& place, std::string_view tenant,
                   const store::DeviceRecord& device);
void append_subscription(proto::JsonWriter& json, const Core& core, const store::SubscriptionEntry& subscription,
                         const Contact& contact, WallTime now);

}  // namespace bellhop::service::admin
