// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace bellhop::tools {

struct HealthcheckOptions {
  std::string socket;   // the admin socket; or
  std::string address;  // host:port of the admin listener; or
  std::string config;   // the configuration that names the socket. None of them: the default socket
  uint32_t timeout_ms = 2'000;
};

// Asks GET /readyz and prints one line that says how the server is. Returns 0 where it takes callbacks; 1 where it does
// not (it starts, drains, or does not answer in time); kExitUsage where whom to ask is not clear.
int check_health(const HealthcheckOptions& options);

}  // namespace bellhop::tools
