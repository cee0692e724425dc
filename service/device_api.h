// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "core/task.h"
#include "service/core.h"
#include "service/http_exchange.h"
#include "service/routes.h"

namespace bellhop::service {

// The routes of devices below /MailNotifications/api/ens and /api/ens: alive, getpublickey, subscribe, checkin,
// updatetoken, unsubscribe (docs/api.md). Checks the ApiToken, reads the body, answers in JSON or with a problem document
// (RFC 9457) whose code is an ApiOutcome. One per core.
class DeviceApi final : public HttpHandler {
 public:
  explicit DeviceApi(Core& core);
  ~DeviceApi();
  // True where `path` is below one of the two bases.
  static bool owns(std::string_view path);
  // All of them, below both bases.
  static std::vector<RouteInfo> routes();
  Task<void> handle(HttpExchange& exchange) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bellhop::service
