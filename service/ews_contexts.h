// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/task.h"
#include "service/gateway_keys.h"
#include "store/store.h"

namespace bellhop::service {

struct EwsTarget;

// Whose mailbox a request is for, where it goes through a gateway (ews.via).
struct EwsOwner {
  store::StoredUserId user;
  store::DeviceKey source;       // whose credentials the request carries
  store::ComplianceKey asking;   // of a device that registers just now, so that the store may not have it; zero: none
};

// How a device is named in a signed context: bellhop keeps hashes of ids alone. "key:" and 32 hex digits.
std::string context_device(const store::ComplianceKey& device);
// What that stands for; of any other text the key of the id that it is.
store::ComplianceKey context_device_key(std::string_view text);

// Writes the signed context (crypto/gateway_context.h) of bellhop's own requests to EWS: tenant, mailbox, the devices that
// it is registered for, and the one whose credentials are used, as the store has them at that moment. One per core.
class EwsContexts {
 public:
  // `store` outlives it.
  EwsContexts(store::Store& store, std::shared_ptr<const GatewayKeys> keys) : store_(store), keys_(std::move(keys)) {}
  // At a reload of the keyring.
  void renew(std::shared_ptr<const GatewayKeys> keys) { keys_ = std::move(keys); }

  // The field's value for a POST of `body` to EWS. At most GatewayContext::kDevicesMax devices are named, the source first.
  // Errors: store; crypto (malformed: nobody knows whose mailbox it is).
  Task<Result<std::string>> field(const EwsTarget& target, std::string_view authorization, std::string_view body);

 private:
  store::Store& store_;
  std::shared_ptr<const GatewayKeys> keys_;
};

}  // namespace bellhop::service
