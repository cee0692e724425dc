// SPDX-License-Identifier: Apache-2.0
#include "service/public_handler.h"

#include "proto/target.h"

namespace bellhop::service {

Task<void> PublicHandler::handle(HttpExchange& exchange) {
  GenerationSlot::Pin pin(generations_);  // a request ends under the configuration that it began under
  std::string_view path = proto::split_target(exchange.target()).path;
  if (DeviceApi::owns(path)) {
    co_await devices_.handle(exchange);
  } else {
    co_await notifications_.handle(exchange);  // answers every other path with its own 404
  }
}

std::vector<RouteInfo> PublicHandler::routes() {
  std::vector<RouteInfo> routes = DeviceApi::routes();
  for (RouteInfo& route : NotificationHandler::routes()) routes.push_back(std::move(route));
  return routes;
}

}  // namespace bellhop::service
