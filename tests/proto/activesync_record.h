// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.h"

namespace bellhop::proto {

// Writes the base64 form of an ActiveSync query (MS-ASHTTP 2.2.1.1.1.1), right or wrong.
struct ActiveSyncRecord {
  uint8_t version = 141, command = 0;
  std::string device_id = "device", device_type = "type";
  std::optional<uint32_t> policy_key;
  std::string parameters;

  ActiveSyncRecord& add(uint8_t tag, std::string_view value) {
    parameters += static_cast<char>(tag);
    append(parameters, value);
    return *this;
  }
  std::string bytes() const {
    std::string out{static_cast<char>(version), static_cast<char>(command), 9, 4};
    append(out, device_id);
    if (policy_key) {
      out += 4;
      for (int i = 0; i < 4; ++i) out += static_cast<char>(*policy_key >> (8 * i));
    } else {
      out += '\0';
    }
    append(out, device_type);
    return out + parameters;
  }
  std::string text() const { return to_base64(as_bytes(bytes())); }

  static void append(std::string& out, std::string_view value) {
    out += static_cast<char>(value.size());
    out += value;
  }
};

}  // namespace bellhop::proto
