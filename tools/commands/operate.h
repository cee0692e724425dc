// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// What an operator asks a running server, over its admin socket. Each returns an exit code: 0 done, 1 failed or not
// found (the reason is on standard error), 2 wrong arguments. `json`: the server's answer as it is (docs/openapi.json),
// else text for people.

// Whose. An address never leaves this process: it is hashed here, as a device would.
struct UserChoice {
  std::string tenant;
  std::string user;     // the stored id, as `bellhop users` shows it; or
  std::string user_id;  // the hash that devices send; or
  std::string address;
};

struct Listing {
  AdminTarget target;
  UserChoice who;
  std::string state, host;  // subscriptions only
  std::string after;        // a cursor
  uint32_t limit = 100;     // rows
  bool all = false;         // no limit
  bool json = false;
};

// One thing by its id.
struct Choice {
  AdminTarget target;
  std::string id;
  UserChoice who;         // with `device_id`, in place of `id`
  std::string device_id;  // what the device calls itself
  bool json = false;
};

int show_status(const AdminTarget& target, bool json);
int list_users(const Listing& listing);
int list_devices(const Listing& listing);
int show_device(const Choice& choice);
int remove_device(const Choice& choice);
int wipe_device(const Choice& choice);
int block_device(const Choice& choice);
int unblock_device(const Choice& choice);
int list_subscriptions(const Listing& listing);
// `listing` says whose: a user, a tenant, or, with `all`, everybody.
int rotate_keys(const Listing& listing);
int show_subscription(const Choice& choice);
int end_subscription(const Choice& choice);

// Ends with 0 only where every accepted event is accounted for.
int show_audit(const AdminTarget& target, bool json);
// A user, a device, a subscription or an outcome: `id` is its id or name; or chosen by `who` and `device_id`.
int explain_thing(const Choice& choice);

// What is wrong with the choice of a user; empty: nothing.
std::string_view complaint_of(const UserChoice& who);
// The ids that an address and a device's own name stand for: of the device where there is a `device_id`, else of the user.
// On failure the exit code.
std::expected<std::string, int> find_chosen(const Choice& choice);

}  // namespace bellhop::tools
