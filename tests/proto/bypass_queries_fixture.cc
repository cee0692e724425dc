// SPDX-License-Identifier: Apache-2.0
// ActiveSync queries, identities, and what is in the bodies.
#include "core/base/bytes.h"
#include "tests/proto/activesync_record.h"
#include "tests/proto/bypass_variants.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

struct NameAndValue {
  std::string name, hidden;  // what it has in the good query is the setting's
};

std::vector<NameAndValue> telling(const BypassSetting& setting) {
  return {
      {"Cmd", "Ping"}, {"User", setting.other_user}, {"DeviceId", setting.blocked_device}, {"DeviceType", "Android"}};
}

std::string lower(std::string_view text) {
  return ascii_lower(text);
}
std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? char(c - 32) : c;
  return out;
}
std::string escaped_at(std::string_view text, size_t at, std::string_view percent) {
  const auto byte = static_cast<uint8_t>(text[at]);
  return std::string(text.substr(0, at)) + std::string(percent) + to_hex(Bytes(&byte, 1)) +
         std::string(text.substr(at + 1));
}

// A parameter a second time.
void add_repeated(BypassWriter& out, const NameAndValue& one) {
  const std::string good = out.query(out.setting.allowed_device);
  std::vector<std::string> names = {one.name, lower(one.name), upper(one.name),
                                    upper(one.name.substr(0, 1)) + lower(one.name.substr(1)),
                                    lower(one.name.substr(0, 1)) + upper(one.name.substr(1))};
  for (size_t i = 0; i < one.name.size(); ++i) {
    names.push_back(escaped_at(one.name, i, "%"));
    names.push_back(escaped_at(one.name, i, "%25"));
  }
  for (std::string_view after : {"%5B%5D", "%5B0%5D", ".x", "%20", "%00", "%09", "+", "%0a", "%e2%80%8b", "%ef%bc%a4",
                                 "-", "_", "%3d", "~", "'", "()"})
    names.push_back(one.name + std::string(after));
  for (std::string_view before : {"%20", "+", "%00", "%09", "amp;", "%26", "?", "/", "$", "%ef%bb%bf", "*", "x."})
    names.push_back(std::string(before) + one.name);
  for (const std::string& name : names) {
    out.refused("query", out.sync(good + "&" + name + "=" + one.hidden));
    out.refused("query", out.sync(name + "=" + one.hidden + "&" + good));
  }
  for (std::string_view separator :
       {";", "%26", "%3b", "&amp;", "&&", "%0a", "?", "/", ",", "%23", "#", "%c0%a6", "&;", "|", "%7c", " & "}) {
    out.refused("query", out.sync(good + std::string(separator) + one.name + "=" + one.hidden));
    out.refused("query", out.sync(one.name + "=" + one.hidden + std::string(separator) + good));
  }
  // Inside of the value of a parameter that tells nothing.
  for (std::string_view carrier : {"CollectionId", "ItemId", "LongId", "AttachmentName", "SaveInSent"}) {
    out.refused("query", out.sync(good + "&" + std::string(carrier) + "=1%26" + one.name + "%3D" + one.hidden));
    out.refused("query", out.sync(good + "&" + std::string(carrier) + "=1%26" + lower(one.name) + "=" + one.hidden));
    out.refused("query", out.sync(good + "&" + std::string(carrier) + "=1;" + one.name + "=" + one.hidden));
  }
}

// A value that two readers take for two.
void add_values(BypassWriter& out, const NameAndValue& one) {
  const BypassSetting& setting = out.setting;
  const std::string good = out.query(setting.allowed_device);
  const std::string prefix = one.name + "=";
  const size_t at = good.find(prefix) + prefix.size();
  const size_t end = std::min(good.find('&', at), good.size());
  const std::string value = good.substr(at, end - at);
  const auto with = [&](const std::string& other) { return out.sync(good.substr(0, at) + other + good.substr(end)); };
  for (const std::string& other : {value + "%00",
                                   value + "%00" + one.hidden,
                                   value + "," + one.hidden,
                                   value + "%2c" + one.hidden,
                                   value + "%252c" + one.hidden,
                                   value + "%26" + one.name + "%3d" + one.hidden,
                                   value + "%2526" + one.name + "%253d" + one.hidden,
                                   value + "+",
                                   "+" + value,
                                   value + "%0d%0aX-A:%20b",
                                   value + "%0a",
                                   value + "%7f",
                                   value + "%ff",
                                   value + "%c0%80",
                                   value + "%25",
                                   value + "%2541",
                                   value + "%u0041",
                                   value + ";" + one.hidden,
                                   value + "%80",
                                   value + "=" + one.hidden,
                                   value + "%"})
    out.refused("value", with(other));
  if (one.name == "DeviceId" || one.name == "Cmd") {
    for (size_t i = 0; i < value.size(); ++i) {
      out.refused("value", with(escaped_at(value, i, "%")));
      out.refused("value", with(escaped_at(value, i, "%25")));
    }
    for (std::string_view other : {"%20", "%2f", "%5c", "\\", "%22", "%3c", "%ef%bc%a1"})
      out.refused("value", with(value + std::string(other)));
    out.refused("value", with(""));
  }
}

void add_forms(BypassWriter& out) {
  const BypassSetting& setting = out.setting;
  const auto record = [&setting](std::string_view device) {
    return ActiveSyncRecord{.command = 9, .device_id = std::string(device), .device_type = setting.device_type};
  };
  const std::string good = out.query(setting.allowed_device), blocked = record(setting.blocked_device).text();
  const std::string allowed = record(setting.allowed_device).text();
  out.lawful("form", out.sync(good));
  out.lawful("form", out.sync(allowed));
  out.lawful("form", out.sync(record(setting.allowed_device).add(8, setting.user).text()));
  // The blocked phone in each spelling.
  const auto guid = *from_hex(setting.blocked_guid);
  for (const std::string& device :
       {setting.blocked_device, lower(setting.blocked_device), setting.blocked_guid, lower(setting.blocked_guid),
        to_hex(as_bytes(setting.blocked_device)), upper(to_hex(as_bytes(setting.blocked_device)))}) {
    out.refused("form", out.sync(out.query(device)));
    out.refused("form", out.sync(record(device).text()));
    out.refused("form", out.sync(record(device).add(8, setting.user).text()));
  }
  out.refused("form", out.sync(record(as_text(guid)).text()));
  out.refused("form", out.sync(record(as_text(guid)).add(7, "\x01").text()));
  // Both forms at once.
  for (const std::string& query : {blocked + "&" + good,
                                   good + "&" + blocked,
                                   blocked + "&",
                                   "&" + blocked,
                                   blocked + "?" + good,
                                   good + "?" + blocked,
                                   blocked + ";" + good,
                                   blocked + "%26" + good,
                                   good + "%26" + blocked,
                                   blocked + "," + allowed,
                                   blocked + allowed,
                                   allowed + blocked,
                                   blocked + "&" + allowed,
                                   allowed + "&" + blocked,
                                   "Cmd=" + blocked,
                                   blocked + "=" + good,
                                   blocked + "&DeviceId=" + setting.allowed_device,
                                   allowed + "&DeviceId=" + setting.blocked_device,
                                   allowed + "&Cmd=Ping",
                                   allowed + "&User=" + setting.other_user,
                                   "DeviceId=" + setting.blocked_device + "&" + allowed,
                                   allowed + "#" + blocked,
                                   allowed + "%23" + blocked,
                                   allowed + "%00" + blocked,
                                   "%20" + blocked,
                                   allowed + "%20",
                                   allowed + "+",
                                   allowed + "-",
                                   "-" + allowed,
                                   allowed + "_",
                                   allowed + "====",
                                   allowed + "%3d",
                                   allowed + "%3D%3D",
                                   allowed + "\x0a",
                                   "=" + allowed,
                                   allowed + "AAAA",
                                   allowed.substr(1),
                                   allowed.substr(0, allowed.size() - 1)})
    out.refused("form", out.sync(query));
  for (size_t i = 0; i < allowed.size(); i += 3) out.refused("form", out.sync(escaped_at(allowed, i, "%")));
  // Records that some read on, and some give up at.
  const std::string bytes = record(setting.allowed_device).bytes(),
                    device = "\x08" + std::string(1, char(setting.other_user.size())) + setting.other_user;
  out.refused("form", out.sync(to_base64(as_bytes(bytes + device))));
  out.refused("form", out.sync(to_base64(as_bytes(bytes + device + device))));
  for (size_t size = 1; size < bytes.size(); ++size)
    out.refused("form", out.sync(to_base64(as_bytes(bytes).first(size))));
  for (uint8_t tag : {2, 5, 9, 10, 64, 255})
    out.refused("form", out.sync(record(setting.allowed_device).add(tag, setting.blocked_device).text()));
  out.refused("form", out.sync(record(setting.allowed_device).add(1, "a").add(1, "b").text()));
  out.refused("form", out.sync(record(setting.allowed_device).add(3, "x&DeviceId=" + setting.blocked_device).text()));
  for (std::string_view suffix :
       {"\0"s, ","s + setting.blocked_device, "&DeviceId="s + setting.blocked_device, "%00"s, "\n"s, " "s})
    out.refused("form", out.sync(record(setting.allowed_device + std::string(suffix)).text()));
  for (uint8_t version : {0, 20, 25, 120, 139, 191, 255}) {
    ActiveSyncRecord other = record(setting.allowed_device);
    other.version = version;
    out.refused("form", out.sync(other.text()));
  }
  // Fields that say something else than the record.
  for (const auto& [name, value] : BypassWriter::Fields{
           {"MS-ASProtocolVersion", "2.5"}, {"MS-ASProtocolVersion", "16.1"}, {"X-MS-PolicyKey", "5"}}) {
    BypassWriter::Fields fields = out.sync_fields();
    fields.pop_back();
    fields.emplace_back(name, value);
    fields.emplace_back("Content-Length", "0");
    out.refused("form", out.request("POST", "/Microsoft-Server-ActiveSync?" + allowed, fields, ""));
  }
}

// A blocked phone may use Provision, and what says Provision but is something else is none.
void add_wbxml(BypassWriter& out) {
  const auto post = [&out](std::string_view command, std::string_view body, std::string_view device) {
    BypassWriter::Fields fields = out.sync_fields();
    fields.emplace_back("Content-Length", std::to_string(body.size()));
    return out.request("POST", "/Microsoft-Server-ActiveSync?" + out.query(device, command), fields, body);
  };
  const std::string& blocked = out.setting.blocked_device;
  out.lawful("wbxml", post("Provision", "\x03\x01\x6a\x00\x00\x0e\x05"s, blocked));
  const std::string bodies[] = {"\x03\x01\x6a\x00\x05"s,
                                "\x03\x01\x6a\x00\x45\x5c\x4f\x4b\x03\x30\x00\x01\x01\x01\x01"s,
                                "\x03\x01\x6a\x00\x00\x07\x56\x52\x03\x30\x00\x01\x01"s,
                                "\x03\x01\x6a\x00\x00\x0d\x45"s,
                                "\x03\x01\x6a\x00\x00\x14\x45"s,
                                "\x03\x01\x6a\x00\x00\x0e\x00\x00\x45"s,
                                "\x03\x01\x6a\x00\x00\x0e\xc5"s,
                                "\x03\x01\x6a\x01\x00\x00\x0e\x45"s,
                                "\x02\x01\x6a\x00\x00\x0e\x45"s,
                                "\x03\x01\x03\x00\x00\x0e\x45"s,
                                "\x03\x05\x6a\x00\x00\x0e\x45"s,
                                "\x03"s,
                                "\x03\x01\x6a"s,
                                "\x03\x01\x6a\x00"s,
                                "\x03\x01\x6a\x00\x00"s,
                                "\x03\x01\x6a\x00\x00\x0e"s,
                                "<Sync/>"s,
                                "\x00\x00\x0e\x45"s};
  for (const std::string& body : bodies) {
    out.refused("wbxml", post("Provision", body, blocked));
    if (body != bodies[2]) out.refused("wbxml", post("FolderSync", body, out.setting.allowed_device));
  }
  for (std::string_view command :
       {"Sync", "Ping", "FolderSync", "Settings", "ItemOperations", "SendMail", "Search", "GetAttachment", "provision",
        "Provision%00", "Provision,Sync", "GetHierarchy", "Autodiscover", "Find", "x"})
    out.refused("wbxml", post(command, "", blocked));
}

std::string bearer(std::string_view upn) {
  return "Bearer " + to_base64url(as_bytes(R"({"alg":"none"})"s)) + "." +
         to_base64url(as_bytes(R"({"upn":")" + std::string(upn) + R"("})")) + ".";
}

}  // namespace

void add_query_variants(BypassWriter& out) {
  for (const NameAndValue& one : telling(out.setting)) {
    add_repeated(out, one);
    add_values(out, one);
  }
  add_forms(out);
  add_wbxml(out);
  for (std::string_view query : {"", "Cmd", "Cmd=", "X-Rps-CAT=x", "Cmd=FolderSync", "DeviceId=ALLOWEDPHONE1"})
    out.refused("query", out.sync(query));
  for (std::string_view more : {"&X-Rps-CAT=x", "&Log=V141", "&x=y", "&", "&=", "&a", "&PolicyKey=0"})
    out.refused("query", out.sync(out.query(out.setting.allowed_device) + std::string(more)));
}

void add_identity_variants(BypassWriter& out) {
  const BypassSetting& setting = out.setting;
  const std::string other_local = setting.other_user.substr(0, setting.other_user.find('@'));
  const std::string local = setting.user.substr(0, setting.user.find('@'));
  const auto named = [&](const std::string& user) {
    return out.sync("Cmd=FolderSync&User=" + user + "&DeviceId=" + setting.allowed_device +
                    "&DeviceType=" + setting.device_type);
  };
  const auto tagged = [&](const std::string& user) {
    return out.sync(
        ActiveSyncRecord{.command = 9, .device_id = setting.allowed_device, .device_type = setting.device_type}
            .add(8, user)
            .text());
  };
  // The same user in other words, and others.
  for (const std::string& user :
       {upper(setting.user), "EXAMPLE%5C" + local, "example%5c" + upper(local), local, "%5C" + setting.user,
        "%5c" + local, local + "%40EXAMPLE.COM", "example.com%5C" + local, local + "@alias.example.com"})
    out.lawful("identity", named(user));
  for (const std::string& user :
       {setting.other_user, upper(setting.other_user), "EXAMPLE%5C" + other_local, other_local,
        "%5C" + setting.other_user, local + "@other.example.com", "OTHER%5C" + local,
        other_local + "@alias.example.com", "%75ser2@example.com"s, "administrator"s, "EXAMPLE%5C" + setting.other_user,
        "%5C%5C" + setting.other_user, setting.other_user + "@example.com", "EXAMPLE%5CEXAMPLE%5C" + other_local,
        local + "x", "x" + setting.user})
    out.refused("identity", named(user));
  for (const std::string& user :
       {setting.other_user, "EXAMPLE\\" + other_local, other_local, upper(setting.other_user)})
    out.refused("identity", tagged(user));
  for (const std::string& user : {setting.user, "EXAMPLE\\" + local, local}) out.lawful("identity", tagged(user));
  // A phone of the other user.
  out.refused("identity", out.sync(out.query(setting.other_device)));
  out.refused("identity", out.sync(ActiveSyncRecord{
                              .command = 9, .device_id = setting.other_device, .device_type = setting.device_type}
                                       .text()));
  // Authorization in other words.
  const auto with = [&](std::string_view value, bool sync) {
    std::string text = sync ? out.sync(out.query(setting.allowed_device)) : out.ews();
    const size_t at = text.find("Authorization: ") + 15;
    return text.replace(at, text.find("\r\n", at) - at, value);
  };
  const std::string basic = out.basic(setting.user), other = out.basic(setting.other_user), token = basic.substr(6);
  for (const std::string& value : {"NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAGAbEdAAAADw=="s,
                                   "Negotiate YIIGgQYGKwYBBQUC"s,
                                   "NEGOTIATE x"s,
                                   "Digest username=\"user1\""s,
                                   basic + ", " + other,
                                   basic + " " + token,
                                   "Basic  " + token,
                                   "Basic\t" + token,
                                   "Basic " + token + "=",
                                   "Basic " + token.substr(1),
                                   "Basic \"" + token + "\"",
                                   token,
                                   "Bearer"s,
                                   "Bearer x"s,
                                   "Bearer a.b.c.d"s,
                                   "Basic dXNlcjE="s,
                                   "Basic OnA="s,
                                   "Basic "s,
                                   "Basic " + to_base64(as_bytes("user1@example.com\0:x"s)),
                                   "Basic " + to_base64(as_bytes("user1@example.com\r\n:x"s)),
                                   "Basic " + to_base64(as_bytes("a@b@c:x"s)),
                                   "Basic " + to_base64(as_bytes("A\\B\\c:x"s)),
                                   "Basic " + token.substr(0, token.size() - 1) + "-"}) {
    out.refused("identity", with(value, true));
    out.refused("identity", with(value, false));
  }
  // Its query names the first user.
  for (const std::string& value : {other, bearer(setting.other_user), bearer("EXAMPLE\\\\" + other_local)})
    out.refused("identity", with(value, true));
  for (const std::string& second : {other, basic, "Bearer x"s, bearer(setting.other_user)}) {
    std::string text = out.sync(out.query(setting.allowed_device));
    out.refused("identity", text.insert(text.find("User-Agent"), "authorization: " + second + "\r\n"));
  }
  for (std::string_view value : {"", "x", "AAAA.AAAA", "eyJ0ZW5hbnQiOiJkZW1vIn0.AAAA", "AQAAAAE.AAAA"}) {
    out.refused("identity", out.ews_with({{"X-Bellhop-Context", std::string(value)}}, BypassWriter::get_folder()));
  }
}

void add_soap_variants(BypassWriter& out) {
  const auto soap = [&out](const std::string& body) { return out.ews_with({}, body); };
  // Operations that nobody gets by default, and what pretends to be another one.
  for (std::string_view operation : {"UpdateInboxRules",
                                     "AddDelegate",
                                     "UpdateDelegate",
                                     "RemoveDelegate",
                                     "InstallApp",
                                     "UninstallApp",
                                     "DisableApp",
                                     "GetAppManifests",
                                     "GetClientAccessToken",
                                     "ExportItems",
                                     "UploadItems",
                                     "SearchMailboxes",
                                     "GetSearchableMailboxes",
                                     "SetHoldOnMailboxes",
                                     "GetHoldOnMailboxes",
                                     "FindMessageTrackingReport",
                                     "PlayOnPhone",
                                     "DisconnectPhoneCall",
                                     "GetNonIndexableItemDetails",
                                     "getfolder",
                                     "GETFOLDER",
                                     "GetFolderX",
                                     "X",
                                     "Envelope",
                                     "SendNotification"}) {
    const std::string element = "<m:" + std::string(operation) + "/>";
    out.refused("soap", soap(BypassWriter::envelope("", element)));
    out.refused(
        "soap",
        out.ews_with({{"SOAPAction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/GetFolder\""}},
                     BypassWriter::envelope("", element)));
    out.refused("soap", out.ews_with({{"SOAPAction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/" +
                                                         std::string(operation) + "\""}},
                                     BypassWriter::get_folder()));
    out.refused("soap", soap(BypassWriter::envelope("", "<!--<m:GetFolder/>-->" + element)));
    out.refused("soap", soap(BypassWriter::envelope("", "<t:GetFolder/>" + element)));
    out.refused("soap", soap(BypassWriter::envelope("", "<GetFolder/>" + element)));
    out.refused("soap", soap(BypassWriter::envelope("<s:Body>" + element + "</s:Body>", "<m:GetFolder/>")));
  }
  // Somebody else, in the header.
  const std::string sid =
      "<t:ConnectingSID><t:PrimarySmtpAddress>" + out.setting.other_user + "</t:PrimarySmtpAddress></t:ConnectingSID>";
  for (
      const std::string& header :
      {"<t:ExchangeImpersonation>" + sid + "</t:ExchangeImpersonation>",
       "<x:ExchangeImpersonation xmlns:x=\"http://schemas.microsoft.com/exchange/services/2006/types\"><x:ConnectingSID><x:SID>S-1-5-21-1</x:SID></x:ConnectingSID></x:ExchangeImpersonation>"s,
       "<ExchangeImpersonation xmlns=\"http://schemas.microsoft.com/exchange/services/2006/types\">" + sid +
           "</ExchangeImpersonation>",
       "<m:ExchangeImpersonation>" + sid + "</m:ExchangeImpersonation>",
       "<t:exchangeimpersonation>" + sid + "</t:exchangeimpersonation>",
       "<t:RequestServerVersion Version=\"Exchange2013\"/><t:ExchangeImpersonation>" + sid +
           "</t:ExchangeImpersonation>",
       "<t:SerializedSecurityContext/>"s, "<t:ProxySecurityContext>x</t:ProxySecurityContext>"s,
       "<t:ProxySuggesterSid/>"s, "<t:ProxyPartnerToken/>"s, "<t:OpenAsAdminOrSystemService LogonType=\"Admin\"/>"s,
       "<t:ManagementRole><t:UserRoles><t:Role>ApplicationImpersonation</t:Role></t:UserRoles></t:ManagementRole>"s,
       "<w:Security xmlns:w=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd\"/>"s,
       "<unknown/>"s, "<a:To xmlns:a=\"http://www.w3.org/2005/08/addressing\">https://localhost/owa</a:To>"s}) {
    out.refused("soap", soap(BypassWriter::envelope("<s:Header>" + header + "</s:Header>", "<m:GetFolder/>")));
    out.refused("soap",
                soap(BypassWriter::envelope("<s:Header/><s:Header>" + header + "</s:Header>", "<m:GetFolder/>")));
    out.refused("soap", soap(BypassWriter::envelope("<s:Header>" + std::string(70'000, ' ') + header + "</s:Header>",
                                                    "<m:GetFolder/>")));
  }
  const std::string good = BypassWriter::get_folder();
  std::string utf16 = "\xff\xfe";
  for (char c : good) utf16 += {c, '\0'};
  const std::string no_declaration = good.substr(good.find("?>") + 2);
  for (const std::string& body :
       {""s, " "s, "x"s, "{\"Body\":{}}"s, utf16, "<!DOCTYPE x>" + no_declaration,
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>" + no_declaration, "<?x?>" + no_declaration,
        "<?xml version=\"1.0\" encoding=\"utf-16\"?>" + no_declaration,
        "<?xml version=\"1.0\" encoding=\"utf-7\"?>" + no_declaration,
        "<?xml version=\"1.0\" encoding=\"ibm037\"?>" + no_declaration, "\x1f\x8b\x08" + good, "<m:GetFolder/>"s,
        good.substr(0, good.find("<s:Body>")), "<s:Envelope xmlns:s=\"x\"><s:Body/></s:Envelope>"s})
    out.refused("soap", soap(body));
  for (std::string_view type :
       {"application/json", "text/plain", "text/xml; charset=utf-16", "text/xml; charset=utf-7",
        "multipart/related; type=\"text/xml\"", "application/x-www-form-urlencoded", "application/vnd.ms-sync.wbxml",
        "text/xml; charset=utf-8; charset=utf-16", "text/xml, text/json", ""}) {
    std::string text = soap(good);
    const size_t at = text.find("Content-Type: ") + 14;
    out.refused("soap", text.replace(at, text.find("\r\n", at) - at, type));
  }
  out.lawful("soap",
             soap(BypassWriter::envelope("<s:Header><t:RequestServerVersion Version=\"Exchange2013\"/></s:Header>",
                                         BypassWriter::get_folder_operation())));
  out.lawful("soap",
             soap(BypassWriter::envelope("", "<!-- <m:ExportItems/> -->" + BypassWriter::get_folder_operation())));
  out.lawful("soap",
             out.ews_with(
                 {{"SOAPAction", "\"http://schemas.microsoft.com/exchange/services/2006/messages/GetFolder\""}}, good));
  for (std::string_view anchor : {"user1@example.com", "USER1@EXAMPLE.COM", "user1@alias.example.com",
                                  "SID:S-1-5-21-1@example.com", "x@y~1", "user2@alias.example.com"})
    out.lawful("soap",
               out.ews_with({{"X-AnchorMailbox", std::string(anchor)}, {"X-PreferServerAffinity", "true"}}, good));
}

}  // namespace bellhop::proto
