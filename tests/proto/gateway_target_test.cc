// SPDX-License-Identifier: Apache-2.0
#include "proto/gateway_target.h"

#include <gtest/gtest.h>

#include "proto/error_texts.h"
#include "proto/gateway_error.h"

namespace bellhop::proto {
namespace {

Result<GatewayTarget> post(std::string_view target) {
  return parse_gateway_target(HttpMethod::post, target);
}

TEST(GatewayTarget, PassesTheTwoEndpointsInAnyLetterCaseAndRebuildsThem) {
  for (std::string_view path : {"/EWS/Exchange.asmx", "/ews/exchange.asmx", "/EWS/EXCHANGE.ASMX", "/eWs/eXCHANGE.aSMX",
                                "/EWS/Exchange.asmx?"}) {
    const auto target = post(path);
    ASSERT_TRUE(target) << path;
    EXPECT_EQ(target->endpoint, GatewayEndpoint::ews);
    EXPECT_EQ(target->rebuilt(), "/EWS/Exchange.asmx");
  }
  const auto sync = post("/MICROSOFT-server-activesync?Cmd=Sync&User=a%40b&DeviceId=x");
  ASSERT_TRUE(sync);
  EXPECT_EQ(sync->endpoint, GatewayEndpoint::activesync);
  EXPECT_EQ(sync->query, "Cmd=Sync&User=a%40b&DeviceId=x");
  EXPECT_EQ(sync->rebuilt(), "/Microsoft-Server-ActiveSync?Cmd=Sync&User=a%40b&DeviceId=x");
}

TEST(GatewayTarget, TellsWhatIsNoEndpointFromWhatTriesToLookLikeOne) {
  for (std::string_view path : {"/",
                                "/owa",
                                "/owa/",
                                "/ecp/default.aspx",
                                "/powershell",
                                "/mapi/emsmdb",
                                "/autodiscover/autodiscover.json",
                                "/EWS",
                                "/EWS/",
                                "/EWS/Exchange.asm",
                                "/EWS/Exchange.asmxx",
                                "/EWS/Exchange.asmx/",
                                "/EWS/Exchange.asmx.",
                                "/EWS/Exchange.asmx/s/GetUserPhoto",
                                "/EWS/Exchange.asmx/wssecurity",
                                "/EWS/mrsproxy.svc",
                                "/Microsoft-Server-ActiveSync/",
                                "/Microsoft-Server-ActiveSync/Proxy",
                                "/(S(x))/EWS/Exchange.asmx",
                                "/x/EWS/Exchange.asmx",
                                "/EWS/Exchange.asmx::$DATA"}) {
    const auto target = post(path);
    ASSERT_FALSE(target) << path;
    EXPECT_TRUE(is(target.error(), GatewayError::not_found)) << path;
  }
  for (std::string_view path : {"",
                                "*",
                                "EWS/Exchange.asmx",
                                "https://mail.example.com/EWS/Exchange.asmx",
                                "/%45WS/Exchange.asmx",
                                "/EWS/Exchange%2easmx",
                                "/EWS%2fExchange.asmx",
                                "/EWS%5cExchange.asmx",
                                "/EWS\\Exchange.asmx",
                                "/EWS//Exchange.asmx",
                                "//EWS/Exchange.asmx",
                                "/./EWS/Exchange.asmx",
                                "/EWS/./Exchange.asmx",
                                "/owa/../EWS/Exchange.asmx",
                                "/EWS/Exchange.asmx/..",
                                "/EWS/Exchange.asmx/../../owa",
                                "/EWS/Exchange.asmx;x",
                                "/EWS/..;/owa",
                                "/EWS/Exchange.asmx%00",
                                "/%2545WS/Exchange.asmx",
                                "/EWS/Exchange.asmx%20",
                                "/\xc3\xa9ws/Exchange.asmx",
                                "/EWS/Exchange.asmx#x",
                                "/EWS/Exchange.asmx ",
                                "/EWS/Exchange.asmx\r\nX: y",
                                "/EWS%c0%afExchange.asmx",
                                "/EWS/Exchange.asmx%"}) {
    const auto target = post(path);
    ASSERT_FALSE(target) << path;
    EXPECT_TRUE(is(target.error(), GatewayError::malformed)) << path;
  }
  EXPECT_FALSE(post("/Microsoft-Server-ActiveSync?" + std::string(kHttpTargetMax, 'a')));
}

TEST(GatewayTarget, TakesNoQueryAtEws) {
  for (std::string_view query : {"?wsdl", "?X-Rps-CAT=x", "?a=b", "?%00", "?/../owa"}) {
    const auto target = post("/EWS/Exchange.asmx" + std::string(query));
    ASSERT_FALSE(target) << query;
    EXPECT_TRUE(is(target.error(), GatewayError::query_refused)) << query;
  }
}

TEST(GatewayTarget, ServesPostAndOptionsOfActiveSyncOnly) {
  EXPECT_TRUE(parse_gateway_target(HttpMethod::options, "/Microsoft-Server-ActiveSync"));
  for (HttpMethod method : {HttpMethod::get, HttpMethod::head, HttpMethod::put, HttpMethod::patch, HttpMethod::delete_,
                            HttpMethod::options}) {
    const auto target = parse_gateway_target(method, "/EWS/Exchange.asmx");
    ASSERT_FALSE(target);
    EXPECT_TRUE(is(target.error(), GatewayError::method));
    EXPECT_EQ(target.error().detail, static_cast<uint32_t>(GatewayEndpoint::ews));
    if (method == HttpMethod::options) continue;
    const auto sync = parse_gateway_target(method, "/Microsoft-Server-ActiveSync?Cmd=Sync");
    ASSERT_FALSE(sync);
    EXPECT_EQ(gateway_error_status(static_cast<GatewayError>(sync.error().code)), 405);
  }
  EXPECT_EQ(endpoint_methods(GatewayEndpoint::activesync), "POST, OPTIONS");
  EXPECT_EQ(endpoint_methods(GatewayEndpoint::ews), "POST");
}

TEST(GatewayError, EachCodeHasATextAndAStatus) {
  for (uint16_t code = 1; code <= static_cast<uint16_t>(GatewayError::location); ++code) {
    EXPECT_FALSE(gateway_error_text(code, 0).starts_with("code ")) << code;
    const uint16_t status = gateway_error_status(static_cast<GatewayError>(code));
    EXPECT_TRUE(status >= 400 && status <= 502) << code;
  }
  EXPECT_EQ(gateway_error_text(999, 0), "code 999");
  register_error_texts();
  EXPECT_EQ(error_text(gateway_error(GatewayError::contradiction)), "gateway: two accounts in one request");
}

}  // namespace
}  // namespace bellhop::proto
