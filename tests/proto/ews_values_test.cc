// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "proto/ews.h"
#include "proto/ews_tags.h"
#include "proto/text_arena.h"
#include "tests/proto/ews_fixture.h"

namespace bellhop::proto {
namespace {

using namespace std::chrono_literals;

TEST(EwsResponseCode, EveryCodeHasItsNameAndBack) {
  for (int i = int(EwsResponseCode::no_error); i <= int(EwsResponseCode::wrong_server_version_delegate); ++i) {
    auto code = EwsResponseCode(i);
    EXPECT_FALSE(response_code_text(code).empty());
    EXPECT_EQ(parse_response_code(response_code_text(code)), code);
  }
  EXPECT_EQ(parse_response_code(""), EwsResponseCode::none);
  EXPECT_EQ(parse_response_code("ErrorOfTomorrow"), EwsResponseCode::other);
  EXPECT_EQ(parse_response_code("noerror"), EwsResponseCode::other);
  EXPECT_EQ(response_code_text(EwsResponseCode::none), "");
  EXPECT_EQ(response_code_text(EwsResponseCode::other), "");
}

TEST(EwsResponseCode, EveryNameIsInTheSchema) {
  auto folder = test_data_folder();
  if (!folder) GTEST_SKIP() << "needs BELLHOP_TEST_DATA";
  std::string schema = read_file(*folder + "/ews-schema/messages.xsd");
  ASSERT_FALSE(schema.empty());
  for (int i = int(EwsResponseCode::no_error); i <= int(EwsResponseCode::wrong_server_version_delegate); ++i) {
    std::string name(response_code_text(EwsResponseCode(i)));
    EXPECT_NE(schema.find("\"" + name + "\""), schema.npos) << name;
  }
}

TEST(EwsResponseCode, IsClassifiedByWhatItAsksOfUs) {
  const std::pair<std::string_view, EwsVerdict> rows[] = {
      {"NoError", EwsVerdict::ok},
      {"ErrorServerBusy", EwsVerdict::retry_later},
      {"ErrorInternalServerError", EwsVerdict::retry_later},
      {"ErrorExceededConnectionCount", EwsVerdict::retry_later},
      {"ErrorExceededSubscriptionCount", EwsVerdict::retry_later},
      {"ErrorMailboxMoveInProgress", EwsVerdict::retry_later},
      {"ErrorProxyRequestNotAllowed", EwsVerdict::moved},
      {"ErrorWrongServerVersion", EwsVerdict::moved},
      {"ErrorProxyServiceDiscoveryFailed", EwsVerdict::moved},
      {"ErrorBatchProcessingStopped", EwsVerdict::retry_later},
      {"ErrorAccessDenied", EwsVerdict::credentials},
      {"ErrorSubscriptionDelegateAccessNotSupported", EwsVerdict::credentials},
      {"ErrorItemNotFound", EwsVerdict::gone},
      {"ErrorInvalidWatermark", EwsVerdict::subscription_lost},
      {"ErrorMissedNotificationEvents", EwsVerdict::subscription_lost},
      {"ErrorReadEventsFailed", EwsVerdict::subscription_lost},
      {"ErrorSubscriptionNotFound", EwsVerdict::subscription_lost},
      {"ErrorExpiredSubscription", EwsVerdict::subscription_lost},
      {"ErrorEventNotFound", EwsVerdict::subscription_lost},
      {"ErrorInvalidPushSubscriptionUrl", EwsVerdict::permanent},
      {"ErrorNonExistentMailbox", EwsVerdict::moved},
      {"ErrorItemCorrupt", EwsVerdict::permanent},
      {"ErrorOfTomorrow", EwsVerdict::permanent},
      {"", EwsVerdict::permanent},
  };
  for (auto [text, verdict] : rows) EXPECT_EQ(classify(parse_response_code(text)), verdict) << text;
}

TEST(ServerVersion, NamesTheProduct) {
  using enum ExchangeProduct;
  const std::pair<ServerVersion, ExchangeProduct> rows[] = {
      {{}, unknown},
      {{8, 3, 485, 1}, exchange2007},
      {{14, 3, 513, 0}, exchange2010},
      {{15, 0, 1497, 48}, exchange2013},
      {{15, 1, 2507, 39}, exchange2016},
      {{15, 2, 1748, 10}, exchange2019},
      {{15, 2, 2562, 17}, subscription_edition},
      {{15, 3, 1, 0}, subscription_edition},
      {{15, 20, 8722, 31}, online},
      {{16, 0, 0, 0}, online},
      {{9, 0, 0, 0}, unknown},
  };
  for (const auto& [version, product] : rows) EXPECT_EQ(exchange_product(version), product) << version.text();
  EXPECT_EQ((ServerVersion{15, 1, 2507, 39}.text()), "15.1.2507.39");
}

TEST(EwsTime, ReadsWhatTheSchemaAllows) {
  WallTime time = WallTime(std::chrono::sys_days(std::chrono::year(2026) / 2 / 28)) + 23h + 59min + 58s;
  EXPECT_EQ(parse_ews_time("2026-02-28T23:59:58Z"), time);
  EXPECT_EQ(parse_ews_time("2026-02-28T23:59:58"), time);
  EXPECT_EQ(parse_ews_time("2026-02-28T23:59:58.1Z"), time + 100ms);
  EXPECT_EQ(parse_ews_time("2026-02-28T23:59:58.1239999Z"), time + 123ms);
  EXPECT_EQ(parse_ews_time("2026-03-01T01:29:58+01:30"), time);
  EXPECT_EQ(parse_ews_time("2026-02-28T15:59:58-08:00"), time);
  EXPECT_EQ(parse_ews_time("1970-01-01T00:00:00Z"), WallTime());
  for (std::string_view bad :
       {"", "2026-02-28", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "1969-12-31T00:00:00Z", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+15:00", "2026-1-1T00:00:00Z",
        " 2026-01-01T00:00:00Z", "-026-01-01T00:00:00Z", "2026-01-01t00:00:00Z", "20260-01-01T00:00:00Z"}) {
    EXPECT_FALSE(parse_ews_time(bad)) << bad;
  }
}

TEST(EwsTime, WritesWhatItReads) {
  for (std::string_view text :
       {"2026-02-28T23:59:58Z", "1970-01-01T00:00:00Z", "2000-02-29T12:00:00.007Z", "9999-12-31T23:59:59.999Z"}) {
    auto time = parse_ews_time(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(format_ews_time(*time), text);
  }
}

TEST(EwsValues, BooleansAndIntegersAreStrict) {
  EXPECT_EQ(parse_ews_boolean("true"), true);
  EXPECT_EQ(parse_ews_boolean("1"), true);
  EXPECT_EQ(parse_ews_boolean("false"), false);
  EXPECT_EQ(parse_ews_boolean("0"), false);
  for (std::string_view bad : {"", "True", "yes", "10"}) EXPECT_FALSE(parse_ews_boolean(bad)) << bad;
  EXPECT_EQ(parse_ews_int("-2147483648"), INT32_MIN);
  EXPECT_EQ(parse_ews_int("+7"), 7);
  for (std::string_view bad : {"", "2147483648", "1.0", "0x1", "1 ", "+", "-", "+-1"})
    EXPECT_FALSE(parse_ews_int(bad)) << bad;
}

TEST(EwsValues, NamesAreReadBack) {
  for (int i = 0; i <= int(EventKind::free_busy_changed); ++i)
    EXPECT_EQ(parse_event_kind(event_kind_text(EventKind(i))), EventKind(i));
  for (int i = 0; i < int(kItemFieldCount); ++i)
    EXPECT_EQ(parse_item_field(item_field_text(ItemField(i))), ItemField(i));
  for (int i = 0; i <= int(ResponseClass::error); ++i)
    EXPECT_EQ(parse_response_class(response_class_text(ResponseClass(i))), ResponseClass(i));
  EXPECT_FALSE(parse_event_kind("NewMail"));
  EXPECT_FALSE(parse_item_field("item:Body"));
  EXPECT_EQ(exchange_version_text(ExchangeVersion::exchange2016), "Exchange2016");
  EXPECT_EQ(soap_content_type(SoapVersion::soap11), "text/xml; charset=utf-8");
  EXPECT_EQ(soap_content_type(SoapVersion::soap12), "application/soap+xml; charset=utf-8");
}

TEST(EwsTags, BelongToOneNamespace) {
  EXPECT_EQ(ews_tag(ews_space(kEwsTypesSpace), "Watermark"), EwsTag::t_watermark);
  EXPECT_EQ(ews_tag(ews_space(kEwsMessagesSpace), "Watermark"), EwsTag::m_watermark);
  EXPECT_EQ(ews_tag(ews_space(kEwsErrorsSpace), "Watermark"), EwsTag::unknown);
  EXPECT_EQ(ews_tag(ews_space(kSoap11Space), "Body"), EwsTag::body);
  EXPECT_EQ(ews_tag(ews_space(kSoap12Space), "Body"), EwsTag::body);
  EXPECT_EQ(ews_tag(ews_space(""), "Body"), EwsTag::unknown);
  EXPECT_EQ(ews_tag(ews_space("urn:x"), "Body"), EwsTag::unknown);
  EXPECT_EQ(ews_tag(EwsSpace::types, "watermark"), EwsTag::unknown);
  EXPECT_EQ(ews_tag(EwsSpace::types, ""), EwsTag::unknown);
}

TEST(EwsError, HasATextForEachCode) {
  register_ews_error_texts();
  register_xml_error_texts();
  for (int code = 1; code <= int(EwsError::forbidden_text); ++code) {
    std::string text = error_text(ews_error(EwsError(code), 17));
    EXPECT_TRUE(text.starts_with("ews: ") && text.ends_with(" at byte 17")) << text;
  }
  for (int code = 1; code <= int(XmlError::memory); ++code) {
    std::string text = error_text(xml_error(XmlError(code), 17));
    EXPECT_TRUE(text.starts_with("xml: ") && text.find("17") != text.npos) << text;
  }
}

TEST(TextArena, KeepsViewsValidWhileItGrows) {
  TextArena arena;
  std::vector<std::string_view> views;
  std::vector<std::string> texts;
  for (size_t i = 0; i < 300; ++i) {
    texts.push_back(std::string(i * 7 % 1000, char('a' + i % 26)));
    views.push_back(arena.store(texts.back()));
  }
  texts.push_back(std::string(200000, 'z'));
  views.push_back(arena.store(texts.back()));
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(views[i], texts[i]);
}

}  // namespace
}  // namespace bellhop::proto
