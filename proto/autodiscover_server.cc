// SPDX-License-Identifier: Apache-2.0
#include "proto/autodiscover_server.h"

#include <array>

#include "proto/ews_text.h"
#include "proto/xml_writer.h"

namespace bellhop::proto {
namespace {

constexpr std::array<std::string_view, 2> kSoapForm = {"http://schemas.microsoft.com/exchange/2010/Autodiscover",
                                                       "https://schemas.microsoft.com/exchange/2010/Autodiscover"};
constexpr std::array<std::string_view, 2> kEnvelope = {kSoap11Space, kSoap12Space};
constexpr std::array<std::string_view, 1> kPoxRequest = {
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"};

enum Part : uint8_t { document, envelope, body, message, request, users, user, mailbox, pox_root, pox_request, pox_address };

void write_setting(XmlWriter& xml, std::string_view name, std::string_view url) {
  if (url.empty()) return;
  xml.raw(R"(<UserSetting i:type="StringSetting">)").element("Name", name).element("Value", url).raw("</UserSetting>");
}

// ErrorCodeType of the user's part.
std::string_view user_error_of(const AutodiscoverAnswer& answer) {
  switch (answer.kind) {
    case AutodiscoverKind::settings:
      return "NoError";
    case AutodiscoverKind::redirect_address:
      return "RedirectAddress";
    case AutodiscoverKind::redirect_url:
      return "RedirectUrl";
    case AutodiscoverKind::refused:
      break;
  }
  return answer.error.empty() ? "NoError" : answer.error;
}

void write_soap(XmlWriter& xml, const AutodiscoverAnswer& answer) {
  xml.raw(R"(<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>)");
  xml.raw(R"(<GetUserSettingsResponseMessage xmlns="http://schemas.microsoft.com/exchange/2010/Autodiscover">)");
  xml.raw(R"(<Response xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><ErrorCode>NoError</ErrorCode>)");
  xml.raw("<ErrorMessage/><UserResponses><UserResponse>").element("ErrorCode", user_error_of(answer));
  xml.raw("<ErrorMessage/>").optional_element("RedirectTarget", answer.redirect).raw("<UserSettings>");
  write_setting(xml, "ExternalEwsUrl", answer.external_url);
  write_setting(xml, "InternalEwsUrl", answer.internal_url);
  xml.raw("</UserSettings></UserResponse></UserResponses></Response></GetUserSettingsResponseMessage>");
  xml.raw("</s:Body></s:Envelope>");
}

void write_protocol(XmlWriter& xml, std::string_view type, std::string_view url) {
  if (url.empty()) return;
  xml.raw("<Protocol>").element("Type", type).element("EwsUrl", url).raw("</Protocol>");
}

void write_pox(XmlWriter& xml, const AutodiscoverAnswer& answer) {
  xml.raw(R"(<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">)");
  if (answer.kind == AutodiscoverKind::refused) {
    xml.raw("<Response><Error>").element("ErrorCode", answer.error).raw("<Message/></Error></Response></Autodiscover>");
    return;
  }
  xml.raw(R"(<Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">)");
  xml.raw("<Account><AccountType>email</AccountType>");
  switch (answer.kind) {
    case AutodiscoverKind::redirect_address:
      xml.element("Action", "redirectAddr").element("RedirectAddr", answer.redirect);
      break;
    case AutodiscoverKind::redirect_url:
      xml.element("Action", "redirectUrl").element("RedirectUrl", answer.redirect);
      break;
    default:
      xml.element("Action", "settings");
      write_protocol(xml, "EXCH", answer.internal_url);
      write_protocol(xml, "EXPR", answer.external_url);
  }
  xml.raw("</Account></Response></Autodiscover>");
}

}  // namespace

AutodiscoverRequestReader::AutodiscoverRequestReader(uint64_t hash_salt, uint32_t document_bytes_max)
    : XmlPathReader(
          [] {
            static const std::array<Rule, 10> rules = {{
                {document, kEnvelope, "Envelope", envelope},
                {envelope, kEnvelope, "Body", body},
                {body, kSoapForm, "GetUserSettingsRequestMessage", message},
                {message, kSoapForm, "Request", request},
                {request, kSoapForm, "Users", users},
                {users, kSoapForm, "User", user},
                {user, kSoapForm, "Mailbox", mailbox},
                {document, kPoxRequest, "Autodiscover", pox_root},
                {pox_root, kPoxRequest, "Request", pox_request},
                {pox_request, kPoxRequest, "EMailAddress", pox_address},
            }};
            return std::span<const Rule>(rules);
          }(),
          document_bytes_max, hash_salt) {}

Result<const AutodiscoverRequest*> AutodiscoverRequestReader::finish() {
  BH_CHECKED(finish_document());
  if (request_.address.empty()) return fail(ews_error(EwsError::missing_part));
  return &request_;
}

void AutodiscoverRequestReader::reset() {
  reset_document();
  texts_.clear();
  request_ = {};
}

Status AutodiscoverRequestReader::part_started(uint8_t part, const XmlAttributes&) {
  if (part == pox_root) request_.form = AutodiscoverForm::pox;
  return {};
}

Status AutodiscoverRequestReader::part_ended(uint8_t part, std::string_view text) {
  if (part == mailbox || part == pox_address) request_.address = texts_.store(xml_trim(text));
  return {};
}

void write_autodiscover_answer(AutodiscoverForm form, const AutodiscoverAnswer& answer, std::string& out) {
  out.clear();
  XmlWriter xml(out);
  xml.raw(R"(<?xml version="1.0" encoding="utf-8"?>)");
  if (form == AutodiscoverForm::soap) {
    write_soap(xml, answer);
  } else {
    write_pox(xml, answer);
  }
}

}  // namespace bellhop::proto
