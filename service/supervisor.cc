// SPDX-License-Identifier: Apache-2.0
#include "service/supervisor.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/descriptors.h"
#include "core/io.h"
#include "core/sleep.h"

namespace bellhop::service {
namespace {

// Of the watchdog's time: cores tick four times in it, and a core that misses half of it counts as silent, so that one
// late turn does no harm and a ping is never sent for a core that has just stopped.
constexpr int kTicksPerWatchdog = 4;
constexpr int kSilenceShare = 2;

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, unsigned cores)
    : options_(std::move(options)), watch_(cores, options_.watchdog / kSilenceShare) {}

void Supervisor::ready(Log& log, std::string_view status) { send(log, fmt::format("READY=1\nSTATUS={}", status)); }

// The time lets the manager tell this reload from the one before (Type=notify-reload).
void Supervisor::reloading(Log& log) {
  auto us = std::chrono::duration_cast<std::chrono::microseconds>(io::now().time_since_epoch()).count();
  send(log, fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", us));
}

void Supervisor::stopping(Log& log) { send(log, "STOPPING=1\nSTATUS=draining"); }

void Supervisor::keep(Log& log, std::string_view name, int descriptor) {
  send(log, fmt::format("FDSTORE=1\nFDNAME={}", name), descriptor);
}

void Supervisor::forget(Log& log, std::string_view name) { send(log, fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name)); }

Task<void> Supervisor::tick(Log& log) {
  if (options_.watchdog <= Duration::zero()) co_return;
  unsigned core = io::core();
  if (core == 0) watch_.begin(io::now());
  do {
    watch_.ticked(core, io::now());
    if (core == 0) ping(log);
  } while (co_await sleep_for(options_.watchdog / kTicksPerWatchdog));
}

void Supervisor::ping(Log& log) {
  std::optional<unsigned> silent = watch_.silent(io::now());
  if (!silent) {
    silent_told_ = false;
    send(log, "WATCHDOG=1");
  } else if (!std::exchange(silent_told_, true)) {
    log_line(log, LogLevel::error, "core_silent", field("silent_core", *silent),
             field("advice", "its loop does not turn; the service manager hears no more pings and will restart us"));
  }
}

void Supervisor::send(Log& log, std::string_view message, int descriptor) {
  if (options_.notify_socket.empty()) return;
  Status sent = descriptor < 0 ? io::notify(options_.notify_socket, message)
                               : io::notify_with(options_.notify_socket, message, descriptor);
  if (sent || std::exchange(send_failed_, true)) return;
  log_line(log, LogLevel::warning, "service_manager_unreachable", field("error", sent.error()));
}

}  // namespace bellhop::service
