// SPDX-License-Identifier: Apache-2.0
#include "proto/gateway_headers.h"

#include <algorithm>
#include <array>
#include <span>

#include "core/base/bytes.h"
#include "proto/gateway_error.h"
#include "proto/header_lists.h"
#include "proto/http1_writer.h"
#include "proto/url.h"

namespace bellhop::proto {
namespace {

// Where a field passes.
enum Where : uint8_t { ews = 1, activesync = 2, both = 3 };
struct Passing {
  std::string_view name;
  Where where;
  bool repeats = false;  // a list, which may come in several fields
};

constexpr Passing kRequestFields[] = {
    {"accept", both, true},
    {"accept-encoding", both, true},
    {"accept-language", both, true},
    {"client-request-id", both},
    {"content-type", both},
    {"ms-asacceptmultipart", activesync},
    {"ms-asprotocolversion", activesync},
    {"return-client-request-id", both},
    {"soapaction", ews},
    {"user-agent", both},
    {"x-anchormailbox", ews},
    {"x-ms-policykey", activesync},
    {"x-ms-wl", activesync},  // what kind of account a Windows client shows; device access rules match it
    {"x-preferserveraffinity", ews},
};

constexpr Passing kResponseFields[] = {
    {"allow", activesync, true},
    {"cache-control", both, true},
    {"client-request-id", both},
    {"content-encoding", both},
    {"content-type", both},
    {"expires", both},
    {"last-modified", both},
    {"ms-asprotocolcommands", activesync},
    {"ms-asprotocolversions", activesync},
    {"ms-server-activesync", activesync},
    {"pragma", both, true},
    {"public", activesync, true},
    {"request-id", both},
    {"retry-after", both},
    {"vary", both, true},
    {"www-authenticate", both, true},
    {"x-ms-asthrottle", activesync},
    {"x-ms-credentials-expire", activesync},
    {"x-ms-diagnostics", both, true},
    {"x-ms-rp", activesync},
};

// Fields that are the caller's to write, but whose meaning would hang on which of them is read.
constexpr std::array<std::string_view, 2> kOnceEach = {"authorization", "content-length"};

std::unexpected<Error> refuse(GatewayError code) { return fail(gateway_error(code)); }

const Passing* find_passing(std::span<const Passing> fields, std::string_view name, GatewayEndpoint endpoint) {
  const auto found = std::ranges::find(fields, name, &Passing::name);
  if (found == fields.end()) return nullptr;
  const Where here = endpoint == GatewayEndpoint::ews ? ews : activesync;
  return (found->where & here) != 0 ? &*found : nullptr;
}

// The names in Connection are of this hop alone, whatever they are.
bool is_nominated(const HeaderBlock& in, std::string_view name) {
  for (size_t i = 0; i < in.size(); ++i) {
    const HeaderField field = in.at(i);
    if (field.name == "connection" && list_has(field.value, name)) return true;
  }
  return false;
}

// Codings that Exchange knows and that our own readers could undo.
std::string kept_codings(std::string_view value) {
  std::string kept;
  for_each_in_list(value, [&kept](std::string_view item) {
    const std::string_view coding = ascii_trim(item.substr(0, std::min(item.find(';'), item.size())));
    const bool known = ascii_equal_ignoring_case(coding, "gzip") || ascii_equal_ignoring_case(coding, "deflate") ||
                       ascii_equal_ignoring_case(coding, "identity");
    if (!known) return;
    if (!kept.empty()) kept += ", ";
    kept += item;
  });
  return kept;
}

bool is_address(std::string_view text) {
  const size_t at = text.find('@');
  if (at == 0 || at == text.npos || text.size() > Account::kBytesMax) return false;
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_").find(c) != std::string_view::npos;
  };
  const std::string_view local = text.substr(0, at), domain = text.substr(at + 1);
  return !domain.empty() && std::ranges::all_of(domain, is_plain) && std::ranges::all_of(local, [&](char c) {
    return is_plain(c) || std::string_view("!#$%&'*+=?^`{|}").find(c) != std::string_view::npos;
  });
}

// X-AnchorMailbox names the mailbox whose server is asked. An address that is not the client's own would choose a server.
bool anchor_passes(const GatewayRequest& request, std::string_view value) {
  if (!is_address(value)) return false;
  if (request.impersonates) return true;
  if (!request.names || !request.account) return false;
  const auto anchor = request.names->parse(value);
  return anchor && *anchor == *request.account;
}

// "14.1" as the base64 form writes it: 141. 0 for anything else.
uint8_t protocol_version(std::string_view value) {
  if (value.size() != 4 || value[2] != '.') return 0;
  const auto number = parse_decimal(std::string(value.substr(0, 2)) + value[3]);
  return number && *number <= 255 ? static_cast<uint8_t>(*number) : 0;
}

enum class Fate : uint8_t { pass, drop };

// The base64 form says version and policy key itself. A field that says the same is left out, another one is refused.
Result<Fate> judge_activesync(const ActiveSyncQuery& query, const HeaderField& field) {
  if (!query.base64) return Fate::pass;
  if (field.name == "ms-asprotocolversion") {
    if (protocol_version(field.value) != query.protocol_version) return refuse(GatewayError::header_repeated);
    return Fate::drop;
  }
  if (field.name == "x-ms-policykey") {
    if (parse_decimal(field.value) != query.policy_key.value_or(0)) return refuse(GatewayError::header_repeated);
    return Fate::drop;
  }
  return Fate::pass;
}

Status add(HeaderBlock& out, std::string_view name, std::string_view value) {
  return out.add(name, value) ? Status() : refuse(GatewayError::headers_too_large);
}

Status copy_request_field(const GatewayRequest& request, const HeaderField& field, HeaderBlock& out) {
  if (!is_field_value(field.value)) return refuse(GatewayError::header_value);
  if (request.query) {
    BH_TRY(const Fate fate, judge_activesync(*request.query, field));
    if (fate == Fate::drop) return {};
  }
  if (field.name == "x-anchormailbox" && !anchor_passes(request, field.value)) return {};
  if (field.name == "accept-encoding") {
    const std::string codings = kept_codings(field.value);
    return codings.empty() ? Status() : add(out, field.name, codings);
  }
  return add(out, field.name, field.value);
}

}  // namespace

Status copy_request_headers(const GatewayRequest& request, const HeaderBlock& in, HeaderBlock& out) {
  for (std::string_view name : kOnceEach) {
    if (in.count(name) > 1) return refuse(GatewayError::header_repeated);
  }
  for (size_t i = 0; i < in.size(); ++i) {
    const HeaderField field = in.at(i);
    const Passing* passing = find_passing(kRequestFields, field.name, request.endpoint);
    if (!passing || (!request.has_content && field.name.starts_with("content-"))) continue;
    if (!passing->repeats && in.count(field.name) > 1) return refuse(GatewayError::header_repeated);
    if (is_nominated(in, field.name)) continue;
    BH_CHECKED(copy_request_field(request, field, out));
  }
  return {};
}

Status copy_response_headers(GatewayEndpoint endpoint, const HeaderBlock& in, HeaderBlock& out) {
  for (size_t i = 0; i < in.size(); ++i) {
    const HeaderField field = in.at(i);
    const Passing* passing = find_passing(kResponseFields, field.name, endpoint);
    if (!passing || !is_field_value(field.value) || is_nominated(in, field.name)) continue;
    // Of what may come once the first one passes.
    if (!passing->repeats && out.count(field.name) > 0) continue;
    if (field.name != "www-authenticate") {
      BH_CHECKED(add(out, field.name, field.value));
    } else if (const auto challenges = filter_challenges(field.value)) {
      BH_CHECKED(add(out, field.name, *challenges));
    }
  }
  return {};
}

Result<GatewayRedirect> read_redirect(GatewayEndpoint endpoint, std::string_view location) {
  auto url = Url::parse(ascii_trim(location));
  if (!url || !ascii_equal_ignoring_case(url->path, canonical_path(endpoint))) return refuse(GatewayError::location);
  return GatewayRedirect{.host = std::move(url->host), .port = url->port};
}

}  // namespace bellhop::proto
