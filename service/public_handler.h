// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "service/device_api.h"
#include "service/http_exchange.h"
#include "service/notification.h"

namespace bellhop::service {

// What the public listener serves, by path: Exchange's callbacks and the device API; nothing else exists. One per core.
class PublicHandler final : public HttpHandler {
 public:
  explicit PublicHandler(Core& core) : generations_(core.generations), notifications_(core), devices_(core) {}
  Task<void> handle(HttpExchange& exchange) override;
  // Of both; what docs/openapi.json says of the public listener.
  static std::vector<RouteInfo> routes();

 private:
  const GenerationSlot& generations_;
  NotificationHandler notifications_;
  DeviceApi devices_;
};

}  // namespace bellhop::service
