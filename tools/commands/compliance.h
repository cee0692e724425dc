// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/admin_client.h"

namespace bellhop::tools {

// What an operator asks a running server about devices and the policy. Exit codes as in operate.h.
struct ComplianceOptions {
  AdminTarget target;
  std::string tenant;  // empty: the only one there is
  std::string file;    // of data; "-": standard input
  std::string device;  // what it is called
  std::string address;                             // of who uses it; hashed here
  std::string point, mail_client, device_type, command;  // of the request that is asked about
  bool json = false;
};

int show_compliance_status(const ComplianceOptions& options);
int put_compliance(const ComplianceOptions& options);
int patch_compliance(const ComplianceOptions& options);
int show_compliance(const ComplianceOptions& options);

}  // namespace bellhop::tools
