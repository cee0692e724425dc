// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "proto/json.h"
#include "service/api_problem.h"
#include "service/registration.h"

namespace bellhop::service {

// What devices send, read from the JSON body (docs/api.md). Everything is checked here that can be checked without the
// store. Views point into the document. Problems: malformed; forbidden (a topic that is not the tenant's, an EWS host
// that is not listed).

// `userId`.
ApiResult<crypto::Digest> read_user_id(const proto::JsonDocument& document);
// `userId`, `deviceId`, `deviceSecret`; the last may be absent where it is not needed.
ApiResult<DeviceIdentity> read_identity(const proto::JsonDocument& document, const Tenant& tenant, const Vault& vault,
                                        bool secret_needed);
// `pushToken`, not yet checked: its form depends on the device's platform.
ApiResult<std::string_view> read_push_token(const proto::JsonDocument& document);
// The whole body of `subscribe`.
ApiResult<SubscribeRequest> read_subscribe(const proto::JsonDocument& document, const Tenant& tenant,
                                           const Vault& vault);

}  // namespace bellhop::service
