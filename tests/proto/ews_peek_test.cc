// SPDX-License-Identifier: Apache-2.0
#include "proto/ews_peek.h"

#include <gtest/gtest.h>

#include "proto/ews_operations.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

constexpr std::string_view kMessages = "http://schemas.microsoft.com/exchange/services/2006/messages";
constexpr std::string_view kTypes = "http://schemas.microsoft.com/exchange/services/2006/types";

std::string envelope(std::string_view header, std::string_view body,
                     std::string_view soap = "http://schemas.xmlsoap.org/soap/envelope/") {
  return "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<s:Envelope xmlns:s=\"" + std::string(soap) + "\" xmlns:t=\"" +
         std::string(kTypes) + "\" xmlns:m=\"" + std::string(kMessages) + "\">" + std::string(header) + "<s:Body>" +
         std::string(body) + "</s:Body></s:Envelope>";
}
std::string impersonation(std::string_view sid) {
  return "<s:Header><t:ExchangeImpersonation>" + std::string(sid) + "</t:ExchangeImpersonation></s:Header>";
}

// "operation as name", or the error; fed in pieces of `size` bytes.
std::string peek_with(EwsPeek& peek, std::string_view text, size_t size) {
  const auto told = [&peek] {
    return std::string(peek.operation()) + " " + std::to_string(int(peek.impersonated_by())) + ":" +
           std::string(peek.impersonated());
  };
  for (std::string_view rest = text; !rest.empty(); rest.remove_prefix(std::min(size, rest.size()))) {
    const auto state = peek.feed(as_bytes(rest.substr(0, size)));
    if (!state) {
      EXPECT_EQ(peek.feed(as_bytes("<"s)).error(), state.error());  // it stays
      return "error " + std::to_string(int(state.error().domain)) + " " + std::to_string(state.error().code);
    }
    if (*state == PeekState::decided) return told();
  }
  const Status finished = peek.finish();
  return finished
             ? told()
             : "error " + std::to_string(int(finished.error().domain)) + " " + std::to_string(finished.error().code);
}
// By a new one, and by one that knows how others began.
std::string peek(std::string_view text, size_t size = SIZE_MAX) {
  static EwsPeek experienced(1);
  EwsPeek fresh(1);
  const std::string told = peek_with(fresh, text, size);
  for (int time = 1; time <= 4; ++time) {
    EXPECT_EQ(peek_with(experienced, text, size), told) << "time " << time << ": " << text;
    experienced.reset();
  }
  return told;
}
std::string error(GatewayError code) {
  return "error " + std::to_string(int(Domain::gateway)) + " " + std::to_string(uint16_t(code));
}
std::string error(XmlError code) {
  return "error " + std::to_string(int(Domain::xml)) + " " + std::to_string(uint16_t(code));
}

TEST(EwsPeek, FindsTheOperationHoweverTheBytesAreCut) {
  const std::string text = envelope(
      "<s:Header><t:RequestServerVersion Version=\"Exchange2013\"/><t:TimeZoneContext><t:TimeZoneDefinition "
      "Id=\"UTC\"><t:Periods><x/></t:Periods></t:TimeZoneDefinition></t:TimeZoneContext></s:Header>",
      "<m:FindItem Traversal=\"Shallow\"><m:ItemShape/></m:FindItem>");
  for (size_t size : {size_t(1), size_t(2), size_t(3), size_t(7), size_t(64), text.size()})
    EXPECT_EQ(peek(text, size), "FindItem 0:") << size;
  EXPECT_EQ(peek("\xef\xbb\xbf" + text), "FindItem 0:");
  EXPECT_EQ(peek(envelope("", "<m:GetItem/>", "http://www.w3.org/2003/05/soap-envelope")), "GetItem 0:");
  EXPECT_EQ(peek(envelope("<s:Header/>", "<GetFolder xmlns=\"" + std::string(kMessages) + "\"/>")), "GetFolder 0:");
}

TEST(EwsPeek, LooksAtNothingBehindTheOperation) {
  const std::string start = envelope("", "<m:CreateItem>");
  const std::string text = start.substr(0, start.find("</s:Body>")) + std::string(10'000'000, '\xff');
  EXPECT_EQ(peek(text), "CreateItem 0:");
}

TEST(EwsPeek, CallsOperationsByTheirName) {
  EXPECT_EQ(peek(envelope("", "<m:GetUserAvailabilityRequest/>")), "GetUserAvailability 0:");
  EXPECT_EQ(peek(envelope("", "<m:SetUserOofSettingsRequest/>")), "SetUserOofSettings 0:");
  EXPECT_EQ(peek(envelope("", "<m:Request/>")), "Request 0:");
}

TEST(EwsPeek, SaysWhoIsImpersonated) {
  const std::pair<std::string_view, int> table[] = {
      {"PrincipalName", 1}, {"SID", 2}, {"PrimarySmtpAddress", 3}, {"SmtpAddress", 4}};
  for (auto [name, number] : table) {
    const std::string sid =
        "<t:ConnectingSID><t:" + std::string(name) + ">a&#64;b</t:" + std::string(name) + "></t:ConnectingSID>";
    for (size_t size : {size_t(1), SIZE_MAX})
      EXPECT_EQ(peek(envelope(impersonation(sid), "<m:GetItem/>"), size), "GetItem " + std::to_string(number) + ":a@b");
  }
  const std::string one = "<t:SID>S-1</t:SID>";
  for (const std::string& bad :
       {""s, "<t:ConnectingSID/>"s, "<t:ConnectingSID>" + one + one + "</t:ConnectingSID>", one,
        "<t:ConnectingSID><t:SID/></t:ConnectingSID>"s, "<t:ConnectingSID><t:Other>x</t:Other></t:ConnectingSID>"s,
        "<t:ConnectingSID><m:SID>x</m:SID></t:ConnectingSID>"s,
        "<t:ConnectingSID><t:SID><t:x/></t:SID></t:ConnectingSID>"s,
        "<t:ConnectingSID>" + one + "</t:ConnectingSID><t:ConnectingSID>" + one + "</t:ConnectingSID>",
        "<t:ConnectingSID><t:SID>" + std::string(kImpersonatedBytesMax + 1, 'x') + "</t:SID></t:ConnectingSID>"})
    EXPECT_EQ(peek(envelope(impersonation(bad), "<m:GetItem/>")), error(GatewayError::soap_header)) << bad;
  const std::string whole =
      "<t:ExchangeImpersonation><t:ConnectingSID>" + one + "</t:ConnectingSID></t:ExchangeImpersonation>";
  EXPECT_EQ(peek(envelope("<s:Header>" + whole + whole + "</s:Header>", "<m:GetItem/>")),
            error(GatewayError::soap_header));
}

TEST(EwsPeek, RefusesHeadersThatServersSendEachOther) {
  for (std::string_view header :
       {"<t:SerializedSecurityContext/>", "<t:ProxySecurityContext/>", "<t:ProxySuggesterSid/>",
        "<t:ProxyPartnerToken/>", "<t:OpenAsAdminOrSystemService/>", "<t:ManagementRole/>", "<m:RequestServerVersion/>",
        "<t:requestserverversion/>",
        "<w:Security xmlns:w=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd\"/>",
        "<a:To xmlns:a=\"http://www.w3.org/2005/08/addressing\">x</a:To>", "<x/>"})
    EXPECT_EQ(peek(envelope("<s:Header>" + std::string(header) + "</s:Header>", "<m:GetItem/>")),
              error(GatewayError::soap_header))
        << header;
}

TEST(EwsPeek, RefusesOtherShapes) {
  const std::string soap11 = "xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"";
  const auto raw = [&soap11](std::string_view inside) {
    return "<s:Envelope " + soap11 + ">" + std::string(inside) + "</s:Envelope>";
  };
  EXPECT_EQ(peek("<GetItem/>"), error(GatewayError::envelope));
  EXPECT_EQ(peek("<Envelope/>"), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("")), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("<s:Body/>")), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("<s:Header/>")), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("<s:Header/><s:Header/><s:Body/>")), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("<x/><s:Body/>")), error(GatewayError::envelope));
  EXPECT_EQ(peek(raw("<b:Body xmlns:b=\"http://www.w3.org/2003/05/soap-envelope\"/>")), error(GatewayError::envelope));
  EXPECT_EQ(peek(envelope("", "<t:GetItem/>")), error(GatewayError::operation));
  EXPECT_EQ(peek(envelope("", "<GetItem/>")), error(GatewayError::operation));
  EXPECT_EQ(peek(""), error(XmlError::truncated));
  EXPECT_EQ(peek(raw("<s:Body>").substr(0, 80)), error(XmlError::truncated));
}

TEST(EwsPeek, RefusesWhatAnXmlReaderCouldBeTrickedBy) {
  const std::string good = envelope("", "<m:GetItem/>");
  const std::string after_declaration = good.substr(good.find('\n') + 1);
  EXPECT_EQ(peek("<!DOCTYPE x [<!ENTITY a \"b\">]>" + after_declaration), error(XmlError::doctype));
  EXPECT_EQ(peek("<?xml-stylesheet href=\"x\"?>" + after_declaration), error(XmlError::processing_instruction));
  EXPECT_EQ(peek("<?xml version=\"1.0\" encoding=\"utf-16\"?>" + after_declaration), error(XmlError::encoding));
  EXPECT_EQ(peek("\xff\xfe<\0?\0"s), error(XmlError::encoding));
  EXPECT_EQ(peek("\0<\0?"s), error(XmlError::encoding));
  EXPECT_EQ(peek("{\"__type\":\"GetItemJsonRequest\"}"), error(XmlError::malformed));
  EXPECT_EQ(peek(envelope("<s:Header>" + std::string(kEwsPeekBytesMax, ' ') + "</s:Header>", "<m:GetItem/>")),
            error(GatewayError::envelope_too_large));
  const std::string deep = "<t:TimeZoneContext>" + [] {
    std::string open;
    for (int i = 0; i < 100; ++i) open += "<t:x>";
    return open;
  }();
  EXPECT_EQ(peek(envelope("<s:Header>" + deep, "")), error(XmlError::depth));
}

TEST(EwsPeek, IsUsedAgain) {
  EwsPeek peek(1);
  for (int i = 0; i < 3; ++i) {
    const std::string first =
        envelope(impersonation("<t:ConnectingSID><t:SID>x</t:SID></t:ConnectingSID>"), "<m:GetItem/>");
    ASSERT_EQ(peek.feed(as_bytes(first)), PeekState::decided);
    EXPECT_EQ(peek.impersonated(), "x");
    peek.reset();
    ASSERT_EQ(peek.feed(as_bytes(envelope("", "<m:FindItem/>"))), PeekState::decided);
    EXPECT_EQ(peek.operation(), "FindItem");
    EXPECT_EQ(peek.impersonated_by(), ImpersonatedName::none);
    peek.reset();
    EXPECT_FALSE(peek.feed(as_bytes("x"s)));
    peek.reset();
  }
}

TEST(EwsOperations, AreGrouped) {
  EXPECT_EQ(ews_operation_group("Subscribe"), EwsOperationGroup::notification);
  EXPECT_EQ(ews_operation_group("FindItem"), EwsOperationGroup::read);
  EXPECT_EQ(ews_operation_group("CreateItem"), EwsOperationGroup::write);
  EXPECT_EQ(ews_operation_group("UpdateInboxRules"), EwsOperationGroup::sensitive);
  EXPECT_EQ(ews_operation_group("ExportItems"), EwsOperationGroup::bulk);
  for (std::string_view name : {"", "getitem", "GetItemX", "A", "zzz"}) {
    EXPECT_EQ(ews_operation_group(name), EwsOperationGroup::other) << name;
    EXPECT_FALSE(is_ews_operation(name));
  }
  for (const EwsOperation& operation : ews_operations()) {
    EXPECT_EQ(ews_operation_group(operation.name), operation.group);
    EXPECT_NE(operation.group, EwsOperationGroup::other);
    EXPECT_EQ(ews_operation_group_of_name(ews_operation_group_name(operation.group)), operation.group);
  }
  EXPECT_EQ(ews_operation_group_of_name("Read"), std::nullopt);
}

// What the peek knew of `text` when it came for the last of `times` times.
uint32_t bytes_known(EwsPeek& peek, std::string_view text, int times) {
  uint32_t known = 0;
  for (; times > 0; --times) {
    (void)peek_with(peek, text, SIZE_MAX);
    known = peek.bytes_known();
    peek.reset();
  }
  return known;
}

TEST(EwsPeek, ParsesWhatRequestsBeginWithTwiceAtMost) {
  EwsPeek peek(1);
  const std::string header = "<s:Header><t:RequestServerVersion Version=\"Exchange2013\"/></s:Header>";
  const std::string find = envelope(header, "<m:FindItem/>"), get = envelope(header, "<m:GetItem><m:ItemShape/></m:GetItem>");
  const auto end_of_body = static_cast<uint32_t>(find.find("<s:Body>") + 8);
  EXPECT_EQ(bytes_known(peek, find, 1), 0u);
  EXPECT_EQ(bytes_known(peek, find, 1), 0u);
  EXPECT_EQ(bytes_known(peek, find, 1), end_of_body);
  EXPECT_EQ(bytes_known(peek, get, 1), end_of_body) << "whatever the operation";
  EXPECT_EQ(peek_with(peek, get, SIZE_MAX), "GetItem 0:");
  peek.reset();
  const std::string whole = get.substr(0, end_of_body + 3);
  EXPECT_EQ(peek_with(peek, whole, SIZE_MAX), error(XmlError::truncated)) << "it is open still";
  peek.reset();
  EXPECT_EQ(peek_with(peek, get.substr(0, end_of_body) + "</s:Header>", SIZE_MAX), error(XmlError::malformed));
  peek.reset();
  EXPECT_EQ(peek_with(peek, get.substr(0, end_of_body) + "<x/>", SIZE_MAX), error(GatewayError::operation));
  peek.reset();
  EXPECT_EQ(peek_with(peek, get.substr(0, end_of_body), SIZE_MAX), error(XmlError::truncated));
}

TEST(EwsPeek, KeepsNoBeginningThatSaysMore) {
  EwsPeek peek(1);
  const std::string body = "<m:FindItem/>";
  const std::string of_anna = "<t:ConnectingSID><t:PrincipalName>anna@example.com</t:PrincipalName></t:ConnectingSID>";
  EXPECT_EQ(bytes_known(peek, envelope(impersonation(of_anna), body), 4), 0u);
  EXPECT_EQ(bytes_known(peek, envelope("<s:Header><t:MailboxCulture>de-DE</t:MailboxCulture></s:Header>", body), 4), 0u);
  EXPECT_GT(bytes_known(peek, envelope("", body), 4), 0u);
  const std::string long_comment = "<!--" + std::string(2048, 'x') + "-->";
  EXPECT_EQ(bytes_known(peek, envelope(long_comment, body), 4), 0u);
  EXPECT_GT(bytes_known(peek, envelope(long_comment.substr(0, 900) + "-->", body), 4), 0u);
}

TEST(EwsPeek, KnowsTheBeginningsOfSeveralClients) {
  EwsPeek peek(1);
  const auto request = [](int client) { return envelope("<!--" + std::to_string(client) + "-->", "<m:FindItem/>"); };
  for (int time = 0; time < 3; ++time)
    for (int client = 0; client < 8; ++client) EXPECT_EQ(bytes_known(peek, request(client), 1) > 0, time == 2) << client;
  EXPECT_GT(bytes_known(peek, request(8), 3), 0u) << "a ninth takes the place of the first";
  EXPECT_EQ(bytes_known(peek, request(0), 1), 0u);
  EXPECT_GT(bytes_known(peek, request(7), 1), 0u);
}

}  // namespace
}  // namespace bellhop::proto
