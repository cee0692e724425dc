// SPDX-License-Identifier: Apache-2.0
// Every variant through what the gateway decides by, and what comes out through the eyes of other servers: whatever
// reading of it they have, it is the one that was decided on.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/bytes.h"
#include "proto/account.h"
#include "proto/activesync.h"
#include "proto/bearer_claims.h"
#include "proto/credentials.h"
#include "proto/ews_operations.h"
#include "proto/ews_peek.h"
#include "proto/gateway_headers.h"
#include "proto/gateway_target.h"
#include "proto/http1.h"
#include "proto/target.h"
#include "proto/wbxml_peek.h"
#include "tests/proto/bypass_variants.h"

namespace bellhop::proto {
namespace {

using Expect = BypassVariant::Expect;

// What a request would be at the upstream.
struct Forwarded {
  HttpMethod method = HttpMethod::post;
  GatewayEndpoint endpoint = GatewayEndpoint::ews;
  std::string target;
  Account account;
  ActiveSyncQuery query;
  HeaderBlock headers;
  std::string operation;
};

// The gateway without its network: the same functions in the same order, and a policy of three phones.
class ModelGateway {
 public:
  explicit ModelGateway(const BypassSetting& setting) : setting_(setting) {
    EXPECT_TRUE(names_.add_domain_alias("EXAMPLE", "example.com"));
    EXPECT_TRUE(names_.add_domain_alias("alias.example.com", "example.com"));
    EXPECT_TRUE(names_.set_default_domain("example.com"));
    devices_[device_key(setting.allowed_device)] = setting.user;
    devices_[device_key(setting.other_device)] = setting.other_user;
  }

  // All requests of a connection, until one of them ends it.
  std::vector<Forwarded> take(std::string_view bytes) {
    std::vector<Forwarded> out;
    Http1RequestParser parser;
    Bytes input = as_bytes(bytes);
    std::string body;
    for (;;) {
      const auto step = parser.feed(input);
      if (!step) return out;
      input = input.subspan(step->consumed);
      if (step->event == Http1Event::need_more && input.empty()) return out;
      if (step->event == Http1Event::head) {
        parser.set_body_max(1 << 20);
        body.clear();
      }
      if (step->event == Http1Event::body) body += as_text(step->body);
      if (step->event != Http1Event::complete) continue;
      if (auto forwarded = judge(parser, body)) out.push_back(*std::move(forwarded));
      if (!parser.keep_alive()) return out;
      parser.reset();
    }
  }

  const AccountNames& names() const { return names_; }

 private:
  std::optional<Forwarded> judge(const Http1RequestParser& request, std::string_view body) {
    const HeaderBlock& headers = request.headers();
    if (headers.find("host") != setting_.host) return {};
    const auto target = parse_gateway_target(request.method(), request.target());
    if (!target) return {};
    Forwarded out{.method = request.method(), .endpoint = target->endpoint, .target = target->rebuilt()};
    const bool ews = target->endpoint == GatewayEndpoint::ews;
    if (!ews) {
      auto query = parse_activesync_query(request.method(), target->query);
      if (!query) return {};
      out.query = *std::move(query);
    }
    if (!identify(headers, out) || (!ews && !may_come_in(out, body)) ||
        (ews && !is_allowed_operation(headers, body, out)))
      return {};
    const GatewayRequest rules{
        .endpoint = out.endpoint, .query = ews ? nullptr : &out.query, .names = &names_, .account = &out.account};
    if (headers.count("x-bellhop-context") > 0 || !copy_request_headers(rules, headers, out.headers)) return {};
    return out;
  }

  bool identify(const HeaderBlock& headers, Forwarded& out) {
    const auto authorization = headers.find("authorization");
    if (!authorization) return false;
    const auto credentials = read_client_credentials(*authorization);
    if (!credentials) return false;
    std::optional<Account> account;
    if (credentials->scheme == ClientCredentials::Scheme::basic) {
      account = names_.parse_latin1_or_utf8(credentials->user.text());
    } else if (const auto claims = read_bearer_claims(credentials->token)) {
      account = names_.parse(claims->user());
    }
    if (!account) return false;
    out.account = *account;
    return out.query.user.empty() || names_.parse(out.query.user) == account;
  }

  bool may_come_in(const Forwarded& out, std::string_view body) {
    if (out.method == HttpMethod::options) return true;
    const Bytes head = as_bytes(body).first(std::min(body.size(), kWbxmlPeekBytesMax));
    const auto fits = check_wbxml_root(*out.query.command, head, body.size() <= head.size());
    if (!fits || !*fits) return false;
    if (out.query.command == ActiveSyncCommand::provision) return true;
    const auto owner = devices_.find(out.query.device);
    return owner != devices_.end() && names_.parse(owner->second) == out.account;
  }

  static bool is_allowed_operation(const HeaderBlock& headers, std::string_view body, Forwarded& out) {
    if (!check_ews_content(headers)) return false;
    EwsPeek peek(1);
    const auto state = peek.feed(as_bytes(body));
    if (!state || (*state == PeekState::need_more && !peek.finish())) return false;
    out.operation = peek.operation();
    const EwsOperationGroup group = ews_operation_group(out.operation);
    const bool allowed = group == EwsOperationGroup::notification || group == EwsOperationGroup::read ||
                         group == EwsOperationGroup::write;
    return allowed && peek.impersonated_by() == ImpersonatedName::none && check_soap_action(headers, out.operation);
  }

  const BypassSetting& setting_;
  AccountNames names_;
  std::map<DeviceKey, std::string> devices_;
};

// --- other servers ---

std::string decoded(std::string_view text) {
  const auto out = percent_decode(text);
  return out ? *out : std::string(text);
}

// A path as a server could see it that decodes, turns backslashes, drops parameters, joins slashes and resolves dots.
std::string resolved_path(std::string_view target, int decodings) {
  std::string path(split_target(target).path);
  for (int i = 0; i < decodings; ++i) path = decoded(path);
  std::ranges::replace(path, '\\', '/');
  std::vector<std::string> segments;
  for (std::string_view rest = path; !rest.empty();) {
    const size_t end = std::min(rest.find('/'), rest.size());
    std::string segment(rest.substr(0, std::min(rest.substr(0, end).find(';'), end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (segment == "..") {
      if (!segments.empty()) segments.pop_back();
    } else if (!segment.empty() && segment != ".") {
      segments.push_back(std::move(segment));
    }
  }
  std::string out;
  for (const std::string& segment : segments) out += "/" + segment;
  return out;
}

// What a server makes of a query. All in lower case.
using Reading = std::map<std::string, std::string>;
struct Reader {
  bool first = true;   // of several, else the last
  bool joins = false;  // several into one, with a comma
  bool folds = true;   // names
  int decodings = 1;   // of values
  bool decodes_first = false;
  bool cuts_at_semicolons = false;
  bool plus_is_space = false;
};

Reading read_plain(std::string_view query, const Reader& reader) {
  std::string text(query);
  if (reader.decodes_first) text = decoded(text);
  if (reader.plus_is_space) std::ranges::replace(text, '+', ' ');
  Reading out;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find_first_of(reader.cuts_at_semicolons ? "&;" : "&"), rest.size());
    const std::string_view parameter = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = std::min(parameter.find('='), parameter.size());
    std::string name = decoded(parameter.substr(0, equals));
    std::string value(parameter.substr(std::min(equals + 1, parameter.size())));
    for (int i = 0; i < reader.decodings; ++i) value = decoded(value);
    if (reader.folds) name = ascii_lower(name);
    value = ascii_lower(value);
    const auto [at, added] = out.emplace(name, value);
    if (added) continue;
    if (reader.joins) {
      at->second += "," + value;
    } else if (!reader.first) {
      at->second = value;
    }
  }
  return out;
}

const std::vector<Reader>& readers() {
  static const std::vector<Reader> all = [] {
    std::vector<Reader> made;
    for (unsigned bits = 0; bits < 128; ++bits) {
      const auto bit = [bits](unsigned n) { return (bits >> n & 1) != 0; };
      made.push_back({.first = bit(0),
                      .joins = bit(1),
                      .folds = bit(2),
                      .decodings = bit(3) ? 2 : 1,
                      .decodes_first = bit(4),
                      .cuts_at_semicolons = bit(5),
                      .plus_is_space = bit(6)});
    }
    return made;
  }();
  return all;
}

// A query where `folds` is off finds only names in their usual spelling.
std::string value_of(const Reading& reading, std::string_view name, bool folds) {
  const auto found = reading.find(folds ? ascii_lower(name) : std::string(name));
  return found == reading.end() ? "" : found->second;
}

// Why a forwarded request is not what was decided, or nothing.
std::string unlawful(const Forwarded& out, const BypassSetting& setting, const AccountNames& names) {
  const std::string canonical = ascii_lower(canonical_path(out.endpoint));
  for (int decodings = 0; decodings <= 2; ++decodings) {
    if (ascii_lower(resolved_path(out.target, decodings)) != canonical) return "another path: " + out.target;
  }
  if (out.account.text != setting.user) return "another account: " + out.account.text;
  for (size_t i = 0; i < out.headers.size(); ++i) {
    static const std::set<std::string_view> kKnown = {
        "user-agent",      "content-type",           "soapaction",    "ms-asprotocolversion",
        "x-anchormailbox", "x-preferserveraffinity", "x-ms-policykey"};
    const HeaderField field = out.headers.at(i);
    if (!kKnown.contains(field.name)) return "a field: " + std::string(field.name);
    if (field.name == "x-anchormailbox" && names.parse(field.value) != out.account) return "another anchor";
  }
  if (out.endpoint == GatewayEndpoint::ews)
    return out.operation == "GetFolder" ? "" : "another operation: " + out.operation;
  if (out.method == HttpMethod::options) return "";
  const bool provision = out.query.command == ActiveSyncCommand::provision;
  if (!provision && out.query.device != device_key(setting.allowed_device)) return "another device";
  if (out.query.base64) return "";
  for (const Reader& reader : readers()) {
    const Reading reading = read_plain(split_target(out.target).query.value_or(""), reader);
    const bool same =
        value_of(reading, "Cmd", reader.folds) == ascii_lower(activesync_command_name(*out.query.command)) &&
        value_of(reading, "DeviceId", reader.folds) == ascii_lower(out.query.device_id) &&
        value_of(reading, "DeviceType", reader.folds) == ascii_lower(out.query.device_type) &&
        value_of(reading, "User", reader.folds) == ascii_lower(out.query.user);
    if (!same) return "another reading: " + out.target;
  }
  return "";
}

TEST(BypassVariants, AreManyAndDifferent) {
  const auto variants = bypass_variants();
  EXPECT_GE(variants.size(), 2'000u);
  std::map<std::string, size_t> families;
  std::set<std::string> seen;
  for (const BypassVariant& variant : variants) {
    EXPECT_EQ(variant.number, &variant - variants.data());
    EXPECT_EQ(variant.bytes.find("@N@"), variant.bytes.npos);
    ++families[variant.family];
    std::string bytes = variant.bytes;
    const std::string marker = "variant-" + std::to_string(variant.number);
    for (size_t at = bytes.find(marker); at != bytes.npos; at = bytes.find(marker)) bytes.erase(at, marker.size());
    seen.insert(std::move(bytes));
  }
  // What two families both come upon counts once.
  EXPECT_GE(seen.size(), 2'000u);
  for (std::string_view family : {"path", "spelling", "method", "header", "cookie", "host", "framing", "query", "value",
                                  "form", "wbxml", "identity", "soap"})
    EXPECT_GE(families[std::string(family)], 10u) << family;
  RecordProperty("variants", static_cast<int>(variants.size()));
}

TEST(BypassVariants, ComeThroughAsWhatTheyAreOrNotAtAll) {
  const BypassSetting setting;
  ModelGateway gateway(setting);
  size_t lawful = 0;
  for (const BypassVariant& variant : bypass_variants(setting)) {
    const auto forwarded = gateway.take(variant.bytes);
    for (const Forwarded& one : forwarded)
      EXPECT_EQ(unlawful(one, setting, gateway.names()), "") << variant.family << " " << variant.number << "\n"
                                                             << variant.bytes.substr(0, 600);
    if (variant.expect == Expect::refused) {
      EXPECT_EQ(forwarded.size(), 0u) << variant.family << " " << variant.number << "\n"
                                      << variant.bytes.substr(0, 600);
    } else {
      EXPECT_GE(forwarded.size(), 1u) << variant.family << " " << variant.number << "\n"
                                      << variant.bytes.substr(0, 600);
      ++lawful;
    }
  }
  EXPECT_GE(lawful, 100u);
}

// The eyes see: what the gateway must refuse has a second reading, or another path.
TEST(BypassVariants, WouldShowAGatewayThatPassesThem) {
  const BypassSetting setting;
  const ModelGateway gateway(setting);
  Forwarded out{.endpoint = GatewayEndpoint::activesync, .account = {setting.user}};
  out.query = {.command = ActiveSyncCommand::ping,
               .user = setting.user,
               .device_id = setting.allowed_device,
               .device = device_key(setting.allowed_device),
               .device_type = setting.device_type};
  const std::string base = "/Microsoft-Server-ActiveSync?Cmd=Ping&User=" + setting.user +
                           "&DeviceId=" + setting.allowed_device + "&DeviceType=" + setting.device_type;
  out.target = base;
  EXPECT_EQ(unlawful(out, setting, gateway.names()), "");
  for (std::string_view more :
       {"&DeviceId=x", "&deviceid=x", "&DeviceI%64=x", ";DeviceId=x", "&ItemId=1%26DeviceId=x", "&cmd=Sync"}) {
    out.target = base + std::string(more);
    EXPECT_TRUE(unlawful(out, setting, gateway.names()).starts_with("another reading")) << more;
  }
  out.target = "/Microsoft-Server-ActiveSync/..%2fowa?" + base.substr(base.find('?') + 1);
  EXPECT_TRUE(unlawful(out, setting, gateway.names()).starts_with("another path"));
  out.target = base;
  out.query.device = device_key(setting.other_device);
  EXPECT_EQ(unlawful(out, setting, gateway.names()), "another device");
}

}  // namespace
}  // namespace bellhop::proto
