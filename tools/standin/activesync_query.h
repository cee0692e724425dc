// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bellhop::standin {

// What a server behind a proxy takes from the query of /Microsoft-Server-ActiveSync (MS-ASHTTP 2.2.1.1.1). Lenient, as
// servers are, so that a test sees where a proxy and a server would read one query differently: parameters come in any
// order and case, repeated ones are joined by commas as IIS does, names and values may be escaped.
struct ActiveSyncRequestQuery {
  bool base64 = false;
  std::string command;  // "Ping"; empty: none, as OPTIONS has it
  std::string user;
  std::string
      device_id;  // of the base64 form: the bytes as text where they are printable ASCII, else in upper-case hex
  std::string device_type;
  std::string attachment_name;
  std::string protocol_version;        // of the base64 form: "14.1"
  std::optional<uint32_t> policy_key;  // of the base64 form
};

// Nothing where the query is neither form; an absent query is the plain form with nothing in it.
std::optional<ActiveSyncRequestQuery> read_activesync_query(std::string_view query);

}  // namespace bellhop::standin
