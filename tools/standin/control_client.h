// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/task.h"
#include "proto/json.h"
#include "service/http1_client.h"
#include "tools/standin/device.h"

namespace bellhop::standin {

// A stand-in's control interface: plain HTTP with JSON on loopback. One core.
class ControlClient {
 public:
  // Null where the text is no address of the form 127.0.0.1:8444.
  static std::unique_ptr<ControlClient> make(const std::string& address);
  // The JSON of a 200 answer. Errors: os EPROTO with the status as detail, and all that a connection may meet.
  Task<Result<proto::JsonDocument>> call(std::string_view method, std::string target, std::string body);
  Task<void> close();

 private:
  ControlClient(service::Http1Origin origin, std::string host);
  std::string host_;
  service::Http1Pool pool_;
};

// Fetches a refresh token from the token stand-in as the logon at the phone would, and puts it into the account.
Task<bool> take_refresh_token(ControlClient& tokens, DeviceAccount& account);

}  // namespace bellhop::standin
