// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/time.h"

namespace bellhop::standin {

// A request as it reached the stand-in, whatever became of it: what a proxy in front let through, and in whose name.
// Entered when its head has come, completed with its answer. Credentials are left out: of Authorization there are
// scheme and user.
struct ExchangeRequest {
  uint64_t number = 0;  // from 1, over all cores
  Instant at{};         // its head had come
  Instant answered{};   // the epoch: in work, or it ended without an answer
  std::string peer;     // address and port: requests of one connection have one
  std::string method, target;
  std::vector<std::pair<std::string, std::string>> headers;  // without Authorization; in the order of arrival
  std::string scheme;                                        // of Authorization, in lower case; empty: none
  std::string user;        // that it names, or that its token was made for; empty: unreadable
  std::string mailbox;     // address, where the credentials opened one
  std::string operation;   // of EWS its element in Body, of ActiveSync the Cmd
  std::string query_user;  // of ActiveSync, as the stand-in reads the query, like the next two
  std::string device_id, device_type;
  uint64_t body_bytes = 0;  // that came so far
  std::string body_sha256;  // hex; empty where there is no body, or it was not read
  uint16_t status = 0;      // of the answer; 0: none
};

}  // namespace bellhop::standin
