// SPDX-License-Identifier: Apache-2.0
#include "service/accepted_connections.h"

#include <algorithm>

namespace bellhop::service {

uint32_t accepted_connections_max(const Config& config, unsigned cores) {
  constexpr uint32_t kOneTooMany = 1024;
  auto part = [cores](const PublicListenerConfig& listener) { return std::max(1u, listener.connections_max / cores); };
  uint32_t sum = 2 * config.listen_admin.connections_max + kOneTooMany;  // TCP, unix socket
  if (config.is_public()) sum += part(config.listen_public);
  if (config.is_gateway()) sum += part(config.listen_gateway);
  return sum;
}

}  // namespace bellhop::service
