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

}  // namespace bellhop::service
