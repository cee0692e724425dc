// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace bellhop::tools {

struct CheckOnlineOptions {
  std::string file;  // the configuration
  std::string user;  // userPrincipalName whom endpoints with Kerberos are tried as; empty: nobody
  uint32_t timeout_ms = 15'000;  // of each step
};

// After check_config: connects to each upstream of the gateway as the gateway would, and says what it offers; logs the service
// account on, and with a user gets a ticket and shows it to Exchange. One line for each finding, those that need a change begin
// with "FAIL". Returns 0 where there is none.
int check_online(const CheckOnlineOptions& options);

}  // namespace bellhop::tools
