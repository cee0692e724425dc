// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "service/server.h"

namespace bellhop::tools {

// What systemd tells a service through its environment.
struct ServiceManager {
  service::SupervisorOptions supervisor;               // NOTIFY_SOCKET, WATCHDOG_USEC
  std::vector<service::NamedDescriptor> descriptors;   // LISTEN_FDS, LISTEN_FDNAMES
};

// Reads it, and takes it out of the environment: it is meant for this process alone (LISTEN_PID, WATCHDOG_PID), not for
// one that we might start. Nothing, and the reason on standard error, where it makes no sense.
std::optional<ServiceManager> read_service_manager();

// The value of an environment variable; "" where it is not set.
std::string_view environment(const char* name);

}  // namespace bellhop::tools
