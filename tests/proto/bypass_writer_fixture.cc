// SPDX-License-Identifier: Apache-2.0
// What every variant begins with: requests that are right in every respect.
#include "core/base/bytes.h"
#include "tests/proto/bypass_variants.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

constexpr std::string_view kEws = "/EWS/Exchange.asmx", kSync = "/Microsoft-Server-ActiveSync";

}  // namespace

void BypassWriter::add(std::string_view family, Expect expect, std::string bytes) {
  const auto number = static_cast<uint32_t>(variants.size());
  for (size_t at = bytes.find("@N@"); at != bytes.npos; at = bytes.find("@N@", at))
    bytes.replace(at, 3, std::to_string(number));
  variants.push_back({.number = number, .family = std::string(family), .expect = expect, .bytes = std::move(bytes)});
}

std::string BypassWriter::request(std::string_view method, std::string_view target, const Fields& fields,
                                  std::string_view body) const {
  std::string out = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\n";
  for (const auto& [name, value] : fields) out += name + ": " + value + "\r\n";
  return out + "\r\n" + std::string(body);
}

std::string BypassWriter::basic(std::string_view user) const {
  return "Basic " + to_base64(as_bytes(std::string(user) + ":" + setting.password));
}

BypassWriter::Fields BypassWriter::ews_fields() const {
  return {{"Host", setting.host},
          {"Authorization", basic(setting.user)},
          {"User-Agent", "variant-@N@"},
          {"Content-Type", "text/xml; charset=utf-8"}};
}
BypassWriter::Fields BypassWriter::sync_fields() const {
  return {{"Host", setting.host},
          {"Authorization", basic(setting.user)},
          {"User-Agent", "variant-@N@"},
          {"Content-Type", "application/vnd.ms-sync.wbxml"},
          {"MS-ASProtocolVersion", "14.1"}};
}

std::string BypassWriter::ews_with(const Fields& more, std::string_view body) const {
  Fields fields = ews_fields();
  fields.insert(fields.end(), more.begin(), more.end());
  fields.emplace_back("Content-Length", std::to_string(body.size()));
  return request("POST", kEws, fields, body);
}
std::string BypassWriter::ews(std::string_view target) const {
  Fields fields = ews_fields();
  const std::string body = get_folder();
  fields.emplace_back("Content-Length", std::to_string(body.size()));
  return request("POST", target, fields, body);
}
std::string BypassWriter::sync_target(std::string_view target) const {
  Fields fields = sync_fields();
  const std::string body = folder_sync_body();
  fields.emplace_back("Content-Length", std::to_string(body.size()));
  return request("POST", target, fields, body);
}
std::string BypassWriter::sync(std::string_view query) const {
  return sync_target(std::string(kSync) + "?" + std::string(query));
}

std::string BypassWriter::query(std::string_view device, std::string_view command) const {
  return "Cmd=" + std::string(command) + "&User=" + setting.user + "&DeviceId=" + std::string(device) +
         "&DeviceType=" + setting.device_type;
}

std::string BypassWriter::envelope(std::string_view header, std::string_view body) {
  return "<?xml version=\"1.0\" encoding=\"utf-8\"?>"
         "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\""
         " xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\""
         " xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">" +
         std::string(header) + "<s:Body>" + std::string(body) + "</s:Body></s:Envelope>";
}

std::string BypassWriter::get_folder_operation() {
  return "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>"
         "<t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds></m:GetFolder>";
}

// FolderSync with SyncKey 0.
std::string BypassWriter::folder_sync_body() {
  return "\x03\x01\x6a\x00\x00\x07\x56\x52\x03\x30\x00\x01\x01"s;
}

std::vector<BypassVariant> bypass_variants(const BypassSetting& setting) {
  BypassWriter out(setting);
  add_path_variants(out);
  add_method_variants(out);
  add_header_variants(out);
  add_framing_variants(out);
  add_query_variants(out);
  add_identity_variants(out);
  add_soap_variants(out);
  return std::move(out.variants);
}

}  // namespace bellhop::proto
