// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/base/bytes.h"

namespace bellhop::proto {

// What a device is looked up by: one key for all spellings of its id. An ActiveSync DeviceId travels as text, or in the
// base64 query as bytes: these of the text, or those of a GUID, which servers write down as hexadecimal digits. Some servers
// write down printable bytes so too. So bytes that are printable ASCII are text, others are their hexadecimal digits; a
// text of hexadecimal digits that spell at least ten printable bytes is these; and letter case means nothing.
//
// The key is a hash for looking up, not for proving: who can choose an id can also copy one. It is stable: it may be stored.
struct DeviceKey {
  std::array<std::byte, 16> bytes{};

  friend bool operator==(const DeviceKey&, const DeviceKey&) = default;
  friend auto operator<=>(const DeviceKey&, const DeviceKey&) = default;
};
struct DeviceKeyHash {
  size_t operator()(const DeviceKey& key) const {
    size_t hash;
    std::memcpy(&hash, key.bytes.data(), sizeof hash);
    return hash;
  }
};

// The key of an id as an administrator, a UEM, bellhop's own API or a plain query spells it.
DeviceKey device_key(std::string_view text);
// The key of the field of a base64 query.
DeviceKey device_key_of_bytes(Bytes bytes);

// How the id is shown: the text itself where it is printable ASCII, else its bytes in upper-case hexadecimal digits.
std::string device_text(std::string_view device_id);

}  // namespace bellhop::proto
