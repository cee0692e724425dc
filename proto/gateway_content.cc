// SPDX-License-Identifier: Apache-2.0
// What the fields about bodies and log-on say.
#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "core/base/bytes.h"
#include "proto/gateway_error.h"
#include "proto/gateway_headers.h"
#include "proto/header_lists.h"

namespace bellhop::proto {
namespace {

constexpr std::array<std::string_view, 2> kEwsTypes = {"text/xml", "application/soap+xml"};
constexpr std::array<std::string_view, 4> kActiveSyncTypes = {
    "application/vnd.ms-sync.wbxml", "application/vnd.ms-sync", "application/vnd.ms-sync.multipart", "message/rfc822"};

std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

std::string_view unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// Letters, digits and hyphens: some readers pass over comments and spaces of theirs before a name that looks like another.
bool is_parameter_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// A media type and two of its parameters. Parameters are cut at every ";": none of these holds one.
struct ContentType {
  std::string_view media_type, charset, action;
};
std::optional<ContentType> read_content_type(std::string_view value) {
  ContentType type;
  size_t end = std::min(value.find(';'), value.size());
  type.media_type = ascii_trim(value.substr(0, end));
  while (end < value.size()) {
    value.remove_prefix(end + 1);
    end = std::min(value.find(';'), value.size());
    const std::string_view parameter = ascii_trim(value.substr(0, end));
    const size_t equals = std::min(parameter.find('='), parameter.size());
    const std::string_view name = parameter.substr(0, equals);
    if (!parameter.empty() && !is_parameter_name(name)) return std::nullopt;
    const std::string_view text = unquoted(parameter.substr(std::min(equals + 1, parameter.size())));
    for (auto [known, slot] : {std::pair("charset", &type.charset), std::pair("action", &type.action)}) {
      if (!ascii_equal_ignoring_case(name, known)) continue;
      if (!slot->empty() || text.empty()) return std::nullopt;
      *slot = text;
    }
  }
  return type;
}

bool is_one_of(std::span<const std::string_view> types, std::string_view type) {
  return std::ranges::any_of(types, [type](std::string_view known) { return ascii_equal_ignoring_case(type, known); });
}

bool is_compressed(const HeaderBlock& headers) {
  const size_t codings = headers.count("content-encoding");
  return codings > 1 || (codings == 1 && !ascii_equal_ignoring_case(*headers.find("content-encoding"), "identity"));
}

// Does an action, a URI that ends in the operation or its bare name, name it? services.wsdl calls some after their element,
// GetMeetingInstanceRequest, and gives GetStreamingEvents that of GetEvents.
bool names_operation(std::string_view action, std::string_view operation) {
  const size_t slash = action.rfind('/');
  std::string_view last = slash == action.npos ? action : action.substr(slash + 1);
  constexpr std::string_view kSuffix = "Request";
  if (last.ends_with(kSuffix)) last.remove_suffix(kSuffix.size());
  return last == operation || (last == "GetEvents" && operation == "GetStreamingEvents");
}

// A challenge begins with a scheme; a parameter has "=" behind its name.
bool begins_challenge(std::string_view item) {
  const size_t end = item.find_first_of(" \t=");
  if (end == item.npos) return true;
  const size_t next = item.find_first_not_of(" \t", end);
  return next == item.npos || item[next] != '=';
}

bool has_open_quote(std::string_view value) {
  bool quoted = false;
  for (size_t i = 0; i < value.size(); ++i) {
    if (quoted && value[i] == '\\') {
      ++i;
    } else if (value[i] == '"') {
      quoted = !quoted;
    }
  }
  return quoted;
}

}  // namespace

std::optional<std::string> filter_challenges(std::string_view value) {
  if (has_open_quote(value)) return std::nullopt;
  std::string kept;
  bool keeping = false;
  for_each_in_list(value, [&](std::string_view item) {
    if (begins_challenge(item)) {
      const std::string_view scheme = item.substr(0, std::min(item.find_first_of(" \t"), item.size()));
      keeping = ascii_equal_ignoring_case(scheme, "basic") || ascii_equal_ignoring_case(scheme, "bearer");
    }
    if (!keeping) return;
    if (!kept.empty()) kept += ", ";
    kept += item;
  });
  return kept.empty() ? std::nullopt : std::optional(kept);
}

Status check_ews_content(const HeaderBlock& headers) {
  const auto value = headers.find("content-type");
  if (!value || is_compressed(headers)) return refuse(GatewayError::content_type);
  const auto type = read_content_type(*value);
  const bool xml = type && is_one_of(kEwsTypes, type->media_type);
  const bool utf8 = type && (type->charset.empty() || ascii_equal_ignoring_case(type->charset, "utf-8"));
  return xml && utf8 ? Status() : refuse(GatewayError::content_type);
}

Status check_activesync_content(const HeaderBlock& headers) {
  if (is_compressed(headers) || headers.count("content-type") > 1) return refuse(GatewayError::content_type);
  const auto value = headers.find("content-type");
  if (!value) return {};
  const auto type = read_content_type(*value);
  return type && is_one_of(kActiveSyncTypes, type->media_type) ? Status() : refuse(GatewayError::content_type);
}

Status check_soap_action(const HeaderBlock& headers, std::string_view operation) {
  if (headers.count("soapaction") > 1) return refuse(GatewayError::header_repeated);
  if (const auto value = headers.find("soapaction")) {
    const std::string_view action = unquoted(ascii_trim(*value));
    if (!action.empty() && !names_operation(action, operation)) return refuse(GatewayError::operation);
  }
  if (const auto value = headers.find("content-type")) {
    const auto type = read_content_type(*value);
    if (!type) return refuse(GatewayError::content_type);
    if (!type->action.empty() && !names_operation(type->action, operation)) return refuse(GatewayError::operation);
  }
  return {};
}

}  // namespace bellhop::proto
