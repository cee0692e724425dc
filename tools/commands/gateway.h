// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// What an operator asks a running gateway, over its admin socket. Each returns an exit code: 0 done, 1 failed, 2 wrong
// arguments. `json`: the server's answer as it is (docs/openapi.json), else text for people.

struct GatewayLookUp {
  AdminTarget target;
  std::string kind;     // "device", "account", "device-type", "mail-client"
  std::string subject;  // what is looked up; an address never leaves this process: its hash does
  std::string tenant;   // of an account, where there are several
  uint32_t limit = 50;  // requests
  bool json = false;
};
// The requests that the gateway remembers, the newest first.
int show_gateway_requests(const GatewayLookUp& look_up);

// How it is: requests, outcomes, certificate, upstreams.
int show_gateway(const AdminTarget& target, bool json);
// Where Exchange sent accounts.
int show_redirects(const AdminTarget& target, bool json);
// Forgets them: those of one status (302, 451), or all of them where it is 0.
int forget_redirects(const AdminTarget& target, uint32_t status);

}  // namespace bellhop::tools
