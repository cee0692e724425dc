// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "proto/activesync.h"

// What both forms of an ActiveSync query share. Internal to proto.
namespace bellhop::proto::activesync {

// The first four tell who asks for what.
enum class Parameter : uint8_t {
  command,
  user,
  device_id,
  device_type,
  attachment_name,
  collection_id,
  collection_name,  // 2.5
  item_id,
  long_id,
  parent_id,  // 2.5
  occurrence,
  save_in_sent,
};
inline constexpr size_t kParameterCount = size_t(Parameter::save_in_sent) + 1;

// Decoded values. Errors: query_malformed, ambiguous, device_missing.
Status check_text(std::string_view text, size_t bytes_max);
Status check_user(std::string_view user);
Status check_device_id(std::string_view id);
Status check_device_type(std::string_view type);
// A parameter that does not tell who asks: it must not hide one that does.
Status check_other(std::string_view value);

std::optional<ActiveSyncCommand> command_of_code(uint8_t code);

// The base64 form; `query` has the alphabet of base64 alone. Errors: query_malformed, ambiguous, parameter, command,
// device_missing.
Result<ActiveSyncQuery> read_base64(std::string_view query);

}  // namespace bellhop::proto::activesync
