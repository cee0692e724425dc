// SPDX-License-Identifier: Apache-2.0
#include "tools/service_manager.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "core/base/bytes.h"
#include "tools/server_main.h"

namespace bellhop::tools {
namespace {

constexpr int kFirstDescriptor = 3;       // SD_LISTEN_FDS_START
constexpr uint64_t kDescriptorsMax = 4096;  // a socket for each core and address, and more

bool is_for_us(std::string_view pid) { return pid == std::to_string(getpid()); }

std::optional<uint64_t> number_of(const char* name, uint64_t max) {
  auto number = parse_decimal(environment(name));
  if (number && *number <= max) return number;
  complain(fmt::format("{}={} in the environment is no number that makes sense; it is the service manager's to set", name,
                       environment(name)));
  return std::nullopt;
}

bool read_descriptors(std::vector<service::NamedDescriptor>& descriptors) {
  if (environment("LISTEN_FDS").empty() || !is_for_us(environment("LISTEN_PID"))) return true;
  auto count = number_of("LISTEN_FDS", kDescriptorsMax);
  if (!count) return false;
  std::string_view names = environment("LISTEN_FDNAMES");
  for (uint64_t i = 0; i < *count; ++i) {
    size_t end = std::min(names.find(':'), names.size());
    int descriptor = kFirstDescriptor + static_cast<int>(i);
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
      complain(fmt::format("LISTEN_FDS={}, but descriptor {} is not open", *count, descriptor));
      return false;
    }
    descriptors.push_back({io::Descriptor(descriptor), std::string(names.substr(0, end))});
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return true;
}

}  // namespace

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::optional<ServiceManager> read_service_manager() {
  ServiceManager manager;
  manager.supervisor.notify_socket = environment("NOTIFY_SOCKET");
  bool watched = environment("WATCHDOG_PID").empty() || is_for_us(environment("WATCHDOG_PID"));
  if (watched && !environment("WATCHDOG_USEC").empty()) {
    constexpr uint64_t kDayUs = 86'400'000'000;
    auto us = number_of("WATCHDOG_USEC", kDayUs);
    if (!us) return std::nullopt;
    manager.supervisor.watchdog = std::chrono::microseconds(*us);
  }
  if (!read_descriptors(manager.descriptors)) return std::nullopt;
  for (const char* name :
       {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) {
    unsetenv(name);
  }
  return manager;
}

}  // namespace bellhop::tools
