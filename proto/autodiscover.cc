// SPDX-License-Identifier: Apache-2.0
#include "proto/autodiscover.h"

#include <array>
#include <tuple>

#include "core/base/bytes.h"
#include "proto/ews_request.h"
#include "proto/ews_text.h"
#include "proto/xml_writer.h"

namespace bellhop::proto {
namespace {

// Microsoft's documentation has the SOAP form's namespace with https; servers send it with http.
constexpr std::array<std::string_view, 2> kSoapForm = {"http://schemas.microsoft.com/exchange/2010/Autodiscover",
                                                       "https://schemas.microsoft.com/exchange/2010/Autodiscover"};
constexpr std::array<std::string_view, 2> kEnvelope = {kSoap11Space, kSoap12Space};
constexpr std::array<std::string_view, 1> kNone = {""};
// The root's namespace, and that of what is in it; an error keeps the first.
constexpr std::array<std::string_view, 2> kPox = {
    "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006",
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"};

enum Part : uint8_t {
  document,
  envelope,
  body,
  fault,
  fault_code,
  message,
  response,
  response_error,
  user_responses,
  user_response,
  user_error,
  redirect_target,
  user_settings,
  user_setting,
  setting_name,
  setting_value,
  pox_root,
  pox_response,
  pox_error,
  pox_error_code,
  account,
  action,
  pox_redirect_address,
  pox_redirect_url,
  protocol,
  protocol_type,
  protocol_ews_url,
};

using Rules = std::array<std::tuple<Part, std::span<const std::string_view>, std::string_view, Part>, 26>;
constexpr Rules kShape = {{
    {document, kEnvelope, "Envelope", envelope},
    {envelope, kEnvelope, "Body", body},
    {body, kEnvelope, "Fault", fault},
    {fault, kNone, "faultcode", fault_code},
    {body, kSoapForm, "GetUserSettingsResponseMessage", message},
    {message, kSoapForm, "Response", response},
    {response, kSoapForm, "ErrorCode", response_error},
    {response, kSoapForm, "UserResponses", user_responses},
    {user_responses, kSoapForm, "UserResponse", user_response},
    {user_response, kSoapForm, "ErrorCode", user_error},
    {user_response, kSoapForm, "RedirectTarget", redirect_target},
    {user_response, kSoapForm, "UserSettings", user_settings},
    {user_settings, kSoapForm, "UserSetting", user_setting},
    {user_setting, kSoapForm, "Name", setting_name},
    {user_setting, kSoapForm, "Value", setting_value},
    {document, kPox, "Autodiscover", pox_root},
    {pox_root, kPox, "Response", pox_response},
    {pox_response, kPox, "Error", pox_error},
    {pox_error, kPox, "ErrorCode", pox_error_code},
    {pox_response, kPox, "Account", account},
    {account, kPox, "Action", action},
    {account, kPox, "RedirectAddr", pox_redirect_address},
    {account, kPox, "RedirectUrl", pox_redirect_url},
    {account, kPox, "Protocol", protocol},
    {protocol, kPox, "Type", protocol_type},
    {protocol, kPox, "EwsUrl", protocol_ews_url},
}};

// More than all our own markup in a request.
constexpr size_t kMarkupBytes = 2048;

}  // namespace

std::string_view autodiscover_path(AutodiscoverForm form) {
  return form == AutodiscoverForm::soap ? "/autodiscover/autodiscover.svc" : "/autodiscover/autodiscover.xml";
}

Status write_autodiscover_request(AutodiscoverForm form, std::string_view address, std::string_view url,
                                  std::string& out) {
  wipe(out);
  if (address.empty()) return fail(ews_error(EwsError::missing_part));
  if (address.size() > kMailboxBytesMax || url.size() > kAutodiscoverUrlBytesMax) {
    return fail(ews_error(EwsError::bad_value));
  }
  if (!xml_can_express(address) || !xml_can_express(url)) return fail(ews_error(EwsError::forbidden_text));
  out.reserve(kMarkupBytes + xml_escaped_bytes_max(address.size() + url.size()));
  XmlWriter xml(out);
  xml.raw(R"(<?xml version="1.0" encoding="utf-8"?>)");
  if (form == AutodiscoverForm::pox) {
    xml.raw(R"(<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">)");
    xml.raw("<Request>").element("EMailAddress", address).element("AcceptableResponseSchema", kPox[1]);
    xml.raw("</Request></Autodiscover>");
    return {};
  }
  xml.raw(R"(<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/")");
  xml.raw(R"( xmlns:a="http://schemas.microsoft.com/exchange/2010/Autodiscover")");
  xml.raw(R"( xmlns:w="http://www.w3.org/2005/08/addressing"><s:Header>)");
  xml.raw("<a:RequestedServerVersion>Exchange2010</a:RequestedServerVersion><w:Action>");
  xml.raw(kGetUserSettingsAction.substr(1, kGetUserSettingsAction.size() - 2)).raw("</w:Action>").element("w:To", url);
  xml.raw("</s:Header><s:Body><a:GetUserSettingsRequestMessage><a:Request><a:Users><a:User>");
  xml.element("a:Mailbox", address).raw("</a:User></a:Users><a:RequestedSettings>");
  xml.element("a:Setting", "ExternalEwsUrl").element("a:Setting", "InternalEwsUrl");
  xml.raw("</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage></s:Body></s:Envelope>");
  return {};
}

AutodiscoverReader::AutodiscoverReader(uint64_t hash_salt, uint32_t document_bytes_max)
    : XmlPathReader(
          [] {
            static const auto rules = [] {
              std::array<Rule, kShape.size()> made{};
              for (size_t i = 0; i < kShape.size(); ++i) {
                auto [parent, spaces, local, part] = kShape[i];
                made[i] = {parent, spaces, local, part};
              }
              return made;
            }();
            return std::span<const Rule>(rules);
          }(),
          document_bytes_max, hash_salt) {}

Result<const AutodiscoverAnswer*> AutodiscoverReader::finish() {
  BH_CHECKED(finish_document());
  if (action_ == "RedirectAddress" || action_ == "redirectAddr") {
    answer_.kind = AutodiscoverKind::redirect_address;
    answer_.redirect = redirect_address_;
  } else if (action_ == "RedirectUrl" || action_ == "redirectUrl") {
    answer_.kind = AutodiscoverKind::redirect_url;
    answer_.redirect = redirect_url_;
  } else if (!answer_.external_url.empty() || !answer_.internal_url.empty()) {
    answer_.kind = AutodiscoverKind::settings;
  } else if (answer_.error.empty() && action_ != "NoError" && action_ != "settings") {
    answer_.error = action_;
  }
  bool redirects = answer_.kind == AutodiscoverKind::redirect_address || answer_.kind == AutodiscoverKind::redirect_url;
  if (redirects && answer_.redirect.empty()) return fail(ews_error(EwsError::missing_part));
  return &answer_;
}

void AutodiscoverReader::reset() {
  reset_document();
  texts_.clear();
  answer_ = {};
  name_ = value_ = action_ = redirect_url_ = redirect_address_ = {};
}

Status AutodiscoverReader::part_started(uint8_t part, const XmlAttributes&) {
  if (part == user_setting || part == protocol) name_ = value_ = {};
  return {};
}

Status AutodiscoverReader::part_ended(uint8_t part, std::string_view text) {
  switch (part) {
    case fault_code:
      return keep(answer_.error, text.substr(text.find(':') + 1));  // without its prefix
    case response_error:
      return xml_trim(text) == "NoError" ? Status() : keep(answer_.error, text);
    case user_error:
    case action:
      return keep(action_, text);
    case pox_error_code:
      return keep(answer_.error, text);
    case redirect_target:
      BH_CHECKED(keep(redirect_url_, text));
      redirect_address_ = redirect_url_;
      return {};
    case pox_redirect_url:
      return keep(redirect_url_, text);
    case pox_redirect_address:
      return keep(redirect_address_, text);
    case setting_name:
    case protocol_type:
      return keep(name_, text);
    case setting_value:
    case protocol_ews_url:
      return keep(value_, text);
    case user_setting:
      return setting_ended();
    case protocol:
      return protocol_ended();
    default:
      return {};
  }
}

// The first of each counts: POX may name a protocol several times, the preferred one first.
Status AutodiscoverReader::setting_ended() {
  if (name_ == "ExternalEwsUrl" && answer_.external_url.empty()) answer_.external_url = value_;
  if (name_ == "InternalEwsUrl" && answer_.internal_url.empty()) answer_.internal_url = value_;
  return {};
}

Status AutodiscoverReader::protocol_ended() {
  if (name_ == "EXPR" && answer_.external_url.empty()) answer_.external_url = value_;
  if (name_ == "EXCH" && answer_.internal_url.empty()) answer_.internal_url = value_;
  return {};
}

Status AutodiscoverReader::keep(std::string_view& field, std::string_view text) {
  text = xml_trim(text);
  if (text.size() > kAutodiscoverUrlBytesMax) return fail(ews_error(EwsError::bad_value));
  field = texts_.store(text);
  return {};
}

}  // namespace bellhop::proto
