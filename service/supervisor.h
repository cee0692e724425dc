// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/time.h"
#include "core/task.h"
#include "service/core_watch.h"
#include "service/log.h"

namespace bellhop::service {

// What a service manager asked of us through the environment (systemd: NOTIFY_SOCKET, WATCHDOG_USEC).
struct SupervisorOptions {
  std::string notify_socket;  // unix datagram socket; "@…": abstract; empty: nobody listens
  Duration watchdog{};        // we are killed where no ping comes for so long; zero: no watchdog
};

// Tells the service manager how we are, by the protocol of sd_notify(3): ready when callbacks are taken, reloading and
// stopping, and alive, as long as every core's loop turns. The protocol is one datagram each; what cannot be sent is
// logged once and not repeated: nothing that we serve depends on it. On core 0, but for tick().
class Supervisor {
 public:
  Supervisor(SupervisorOptions options, unsigned cores);

  void ready(Log& log, std::string_view status);
  void reloading(Log& log);
  void stopping(Log& log);
  // Keeps a descriptor for the process that is started after this one (FDSTORE=1), or gives it up.
  void keep(Log& log, std::string_view name, int descriptor);
  void forget(Log& log, std::string_view name);

  // Runs on each core, until it is stopped: tells that the loop turns; on core 0 also pings, unless a core is silent.
  Task<void> tick(Log& log);

 private:
  void send(Log& log, std::string_view message, int descriptor = -1);
  void ping(Log& log);

  const SupervisorOptions options_;
  CoreWatch watch_;
  bool send_failed_ = false;  // and was logged
  bool silent_told_ = false;
};

}  // namespace bellhop::service
