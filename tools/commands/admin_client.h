// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/time.h"

namespace bellhop::tools {

// Where a running server's admin socket is.
struct AdminTarget {
  std::string socket;       // its path; or
  std::string config;       // the configuration that names it; where both are empty: the default of [listen.admin]
  uint32_t timeout_s = 10;  // for one answer
};

struct AdminAnswer {
  uint16_t status = 0;
  std::string body;  // JSON; may hold a token: to be wiped
};

// One request over the admin socket. Where there is no answer, or a refusal (a status of 400 or more),
// the reason stands on standard error and nothing is returned.
struct AdminRequest {
  std::string method;
  std::string path;
  std::string body;
  Duration patience{};  // waits at least so long, whatever the target says
};
std::optional<AdminAnswer> ask_admin(const AdminTarget& target, const AdminRequest& request);

}  // namespace bellhop::tools
