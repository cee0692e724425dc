// SPDX-License-Identifier: Apache-2.0
#include "proto/activesync.h"

#include <algorithm>
#include <array>

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "proto/activesync_parts.h"
#include "proto/gateway_error.h"
#include "proto/target.h"

namespace bellhop::proto {
namespace {

using activesync::Parameter;

struct CommandName {
  ActiveSyncCommand command;
  std::string_view name;
};
constexpr std::array kCommands = {
    CommandName{ActiveSyncCommand::sync, "Sync"},
    CommandName{ActiveSyncCommand::send_mail, "SendMail"},
    CommandName{ActiveSyncCommand::smart_forward, "SmartForward"},
    CommandName{ActiveSyncCommand::smart_reply, "SmartReply"},
    CommandName{ActiveSyncCommand::get_attachment, "GetAttachment"},
    CommandName{ActiveSyncCommand::folder_sync, "FolderSync"},
    CommandName{ActiveSyncCommand::folder_create, "FolderCreate"},
    CommandName{ActiveSyncCommand::folder_delete, "FolderDelete"},
    CommandName{ActiveSyncCommand::folder_update, "FolderUpdate"},
    CommandName{ActiveSyncCommand::move_items, "MoveItems"},
    CommandName{ActiveSyncCommand::get_item_estimate, "GetItemEstimate"},
    CommandName{ActiveSyncCommand::meeting_response, "MeetingResponse"},
    CommandName{ActiveSyncCommand::search, "Search"},
    CommandName{ActiveSyncCommand::settings, "Settings"},
    CommandName{ActiveSyncCommand::ping, "Ping"},
    CommandName{ActiveSyncCommand::item_operations, "ItemOperations"},
    CommandName{ActiveSyncCommand::provision, "Provision"},
    CommandName{ActiveSyncCommand::resolve_recipients, "ResolveRecipients"},
    CommandName{ActiveSyncCommand::validate_cert, "ValidateCert"},
    CommandName{ActiveSyncCommand::find, "Find"},
};

// The parameters of the plain form, with which those of the base64 form share their numbers.
struct ParameterName {
  Parameter parameter;
  std::string_view folded;
};
constexpr std::array kParameters = {
    ParameterName{Parameter::command, "cmd"},
    ParameterName{Parameter::user, "user"},
    ParameterName{Parameter::device_id, "deviceid"},
    ParameterName{Parameter::device_type, "devicetype"},
    ParameterName{Parameter::attachment_name, "attachmentname"},
    ParameterName{Parameter::collection_id, "collectionid"},
    ParameterName{Parameter::collection_name, "collectionname"},
    ParameterName{Parameter::item_id, "itemid"},
    ParameterName{Parameter::long_id, "longid"},
    ParameterName{Parameter::parent_id, "parentid"},
    ParameterName{Parameter::occurrence, "occurrence"},
    ParameterName{Parameter::save_in_sent, "saveinsent"},
};

std::optional<Parameter> parameter_of(std::string_view name) {
  for (const ParameterName& known : kParameters) {
    if (ascii_equal_ignoring_case(name, known.folded)) return known.parameter;
  }
  return std::nullopt;
}

bool is_parameter_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

// Reads the plain form: name=value joined by "&", in any order.
class PlainReader {
 public:
  Result<ActiveSyncQuery> read(std::string_view query) {
    if (query.find(';') != query.npos) return refuse(GatewayError::ambiguous);  // separates parameters for some
    for (;;) {
      const size_t end = std::min(query.find('&'), query.size());
      BH_CHECKED(take(query.substr(0, end)));
      if (end == query.size()) break;
      query.remove_prefix(end + 1);
    }
    return std::move(result_);
  }

 private:
  Status take(std::string_view text) {
    const size_t equals = text.find('=');
    if (equals == text.npos || equals == 0) return refuse(GatewayError::query_malformed);
    const std::string_view name = text.substr(0, equals), value = text.substr(equals + 1);
    if (!is_parameter_name(name)) return refuse(GatewayError::ambiguous);
    const auto parameter = parameter_of(name);
    if (!parameter) return refuse(GatewayError::parameter);
    bool& seen = seen_[static_cast<size_t>(*parameter)];
    if (seen) return refuse(GatewayError::ambiguous);
    seen = true;
    return take_value(*parameter, value);
  }

  Status take_value(Parameter parameter, std::string_view value) {
    // "+" is itself, or a space in a form.
    const bool tells_who = parameter <= Parameter::device_type;
    if (tells_who && value.find('+') != value.npos) return refuse(GatewayError::ambiguous);
    BH_TRY(std::string decoded, percent_decode(value));
    switch (parameter) {
      case Parameter::command: {
        if (decoded != value) return refuse(GatewayError::ambiguous);
        result_.command = activesync_command_of_name(value);
        return result_.command ? Status() : refuse(GatewayError::command);
      }
      case Parameter::user:
        result_.user = std::move(decoded);
        return activesync::check_user(result_.user);
      case Parameter::device_id:
        if (decoded != value) return refuse(GatewayError::ambiguous);
        result_.device_id = std::move(decoded);
        return activesync::check_device_id(result_.device_id);
      case Parameter::device_type:
        result_.device_type = std::move(decoded);
        return activesync::check_device_type(result_.device_type);
      default: return activesync::check_other(decoded);
    }
  }

  ActiveSyncQuery result_;
  std::array<bool, activesync::kParameterCount> seen_{};
};

// Nothing but base64 and its padding: no plain query looks so, but for a single name, which is no query either.
bool is_base64_form(std::string_view query) {
  const size_t end = query.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
  return end == query.npos || query.find_first_not_of('=', end) == query.npos;
}

}  // namespace

namespace activesync {

Status check_text(std::string_view text, size_t bytes_max) {
  if (text.size() > bytes_max || !utf8_valid(text)) return refuse(GatewayError::query_malformed);
  for (char c : text) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return refuse(GatewayError::query_malformed);
    // A second decoding, a second cut, or what IIS joins repeated parameters with would change it.
    if (c == '%' || c == '&' || c == '=' || c == ',') return refuse(GatewayError::ambiguous);
  }
  return {};
}

Status check_user(std::string_view user) { return check_text(user, ActiveSyncQuery::kUserBytesMax); }

Status check_device_type(std::string_view type) {
  if (type.empty()) return refuse(GatewayError::device_missing);
  return check_text(type, ActiveSyncQuery::kDeviceTypeBytesMax);
}

Status check_device_id(std::string_view id) {
  if (id.empty()) return refuse(GatewayError::device_missing);
  BH_CHECKED(check_text(id, ActiveSyncQuery::kDeviceIdBytesMax));
  const bool plain = std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~:@!*$").find(c) != std::string_view::npos;
  });
  return plain ? Status() : refuse(GatewayError::query_malformed);
}

Status check_other(std::string_view value) {
  const std::string folded = ascii_lower(value);
  for (char c : value) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return refuse(GatewayError::query_malformed);
  }
  for (std::string_view hidden : {"&cmd=", "&user=", "&deviceid=", "&devicetype="}) {
    if (folded.find(hidden) != folded.npos) return refuse(GatewayError::ambiguous);
  }
  return {};
}

std::optional<ActiveSyncCommand> command_of_code(uint8_t code) {
  for (const CommandName& known : kCommands) {
    if (static_cast<uint8_t>(known.command) == code) return known.command;
  }
  return std::nullopt;
}

}  // namespace activesync

std::string_view activesync_command_name(ActiveSyncCommand command) {
  for (const CommandName& known : kCommands) {
    if (known.command == command) return known.name;
  }
  BH_CHECK(false);
}

std::optional<ActiveSyncCommand> activesync_command_of_name(std::string_view name) {
  for (const CommandName& known : kCommands) {
    if (known.name == name) return known.command;
  }
  return std::nullopt;
}

Result<ActiveSyncQuery> parse_activesync_query(HttpMethod method, std::string_view query) {
  const bool options = method == HttpMethod::options;
  if (query.empty()) {
    if (options) return ActiveSyncQuery();
    return refuse(GatewayError::query_malformed);
  }
  if (query.size() > kHttpTargetMax || !is_query(query)) return refuse(GatewayError::query_malformed);
  BH_TRY(ActiveSyncQuery read, is_base64_form(query) ? activesync::read_base64(query) : PlainReader().read(query));
  if (!options && !read.command) return refuse(GatewayError::query_malformed);
  if (!options && (read.device_id.empty() || read.device_type.empty())) return refuse(GatewayError::device_missing);
  if (!read.device_id.empty()) read.device = device_key_of_bytes(as_bytes(read.device_id));
  return read;
}

}  // namespace bellhop::proto
