// SPDX-License-Identifier: Apache-2.0
#include "proto/apns.h"

#include <gmock/gmock.h>
#include <simdjson.h>

#include <map>

#include "core/base/bytes.h"
#include "proto/apns_answer.h"
#include "proto/display_text.h"
#include "proto/json_escape.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kToken = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
constexpr std::string_view kEllipsis = "\xe2\x80\xa6";

// The value of a path such as "/aps/alert/title" as text; nothing where it is absent. Fails the test on bad JSON.
std::optional<std::string> at(std::string_view json, std::string_view pointer) {
  simdjson::dom::parser parser;
  simdjson::padded_string padded(json);
  simdjson::dom::element root, value;
  if (parser.parse(padded).get(root) != simdjson::SUCCESS) {
    ADD_FAILURE() << "not JSON: " << json;
    return std::nullopt;
  }
  if (root.at_pointer(pointer).get(value) != simdjson::SUCCESS) return std::nullopt;
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  return std::string(simdjson::minify(value));
}

ApnsRequest good_request() {
  return {.device_token = kToken, .authorization = "aaa.bbb.ccc", .topic = "com.example.mail"};
}

std::map<std::string, std::string> fields_of(const ApnsHeaders& headers) {
  std::map<std::string, std::string> out;
  for (const Http2Header& header : headers.fields()) EXPECT_TRUE(out.emplace(header.name, header.value).second);
  return out;
}

TEST(ApnsRequest, RendersPathAndFields) {
  ApnsRequest request = good_request();
  request.apns_id = "123e4567-e89b-12d3-a456-426614174000";
  request.collapse_id = "abc";
  request.expiration = 0;
  ApnsHeaders headers;
  ASSERT_EQ(headers.build(request), ApnsRequestFault::none);
  EXPECT_EQ(headers.path(), "/3/device/" + std::string(kToken));
  const std::map<std::string, std::string> expected = {{"authorization", "bearer aaa.bbb.ccc"},
                                                       {"apns-topic", "com.example.mail"},
                                                       {"apns-push-type", "alert"},
                                                       {"apns-priority", "10"},
                                                       {"apns-expiration", "0"},
                                                       {"apns-id", "123e4567-e89b-12d3-a456-426614174000"},
                                                       {"apns-collapse-id", "abc"}};
  EXPECT_EQ(fields_of(headers), expected);
  for (const Http2Header& header : headers.fields()) {
    bool repeats = header.name == "apns-topic" || header.name == "apns-push-type" || header.name == "apns-priority";
    EXPECT_EQ(header.never_index, !repeats) << header.name;
  }
}

TEST(ApnsRequest, LeavesOutWhatIsNotGiven) {
  ApnsRequest request = good_request();
  request.authorization = {};
  ApnsHeaders headers;
  ASSERT_EQ(headers.build(request), ApnsRequestFault::none);
  EXPECT_EQ(headers.fields().size(), 3u);
}

TEST(ApnsRequest, BadgeAndSilentPushesHaveTheirTypeAndPriority) {
  ApnsRequest request = good_request();
  ApnsHeaders headers;
  set_apns_badge(request);
  ASSERT_EQ(headers.build(request), ApnsRequestFault::none);
  auto badge = fields_of(headers);
  EXPECT_EQ(badge["apns-push-type"], "alert");
  EXPECT_EQ(badge["apns-priority"], "5");
  EXPECT_EQ(badge["apns-collapse-id"], "badge");
  set_apns_silent(request);
  ASSERT_EQ(headers.build(request), ApnsRequestFault::none);
  auto silent = fields_of(headers);
  EXPECT_EQ(silent["apns-push-type"], "background");
  EXPECT_EQ(silent["apns-priority"], "5");
  EXPECT_EQ(silent.count("apns-collapse-id"), 0u);
}

TEST(ApnsRequest, RefusesWhatApnsWouldRefuse) {
  using Fault = ApnsRequestFault;
  auto fault_of = [](auto change) {
    ApnsRequest request = good_request();
    change(request);
    ApnsHeaders headers;
    Fault fault = headers.build(request);
    EXPECT_TRUE(fault == Fault::none || (headers.fields().empty() && headers.path().empty()));
    return fault;
  };
  std::string id64(64, 'c'), id65(65, 'c'), topic256(256, 't');
  EXPECT_EQ(fault_of([](auto& r) { r.device_token = "abc"; }), Fault::device_token);
  EXPECT_EQ(fault_of([](auto& r) { r.authorization = "a\r\nb"; }), Fault::authorization);
  EXPECT_EQ(fault_of([](auto& r) { r.topic = ""; }), Fault::topic);
  EXPECT_EQ(fault_of([](auto& r) { r.topic = "com example"; }), Fault::topic);
  EXPECT_EQ(fault_of([&](auto& r) { r.topic = topic256; }), Fault::topic);
  EXPECT_EQ(fault_of([](auto& r) { r.apns_id = "123e4567e89b12d3a456426614174000"; }), Fault::apns_id);
  EXPECT_EQ(fault_of([](auto& r) { r.apns_id = "123e4567-e89b-12d3-a456-42661417400g"; }), Fault::apns_id);
  EXPECT_EQ(fault_of([&](auto& r) { r.collapse_id = id64; }), Fault::none);
  EXPECT_EQ(fault_of([&](auto& r) { r.collapse_id = id65; }), Fault::collapse_id);
  EXPECT_EQ(fault_of([](auto& r) { r.collapse_id = "a\nb"; }), Fault::collapse_id);
  EXPECT_EQ(fault_of([](auto& r) { r.expiration = -1; }), Fault::expiration);
  EXPECT_EQ(fault_of([](auto& r) { r.push_type = ApnsPushType::background; }), Fault::priority);
}

TEST(ApnsRequest, AcceptsTokensOfSaneLengthInHexOnly) {
  EXPECT_TRUE(apns_token_valid(kToken));
  EXPECT_TRUE(apns_token_valid(std::string(64, 'A')));
  EXPECT_TRUE(apns_token_valid(std::string(256, '0')));
  for (const std::string& bad : {""s, std::string(62, 'a'), std::string(65, 'a'), std::string(258, 'a'),
                                 std::string(63, 'a') + "g", std::string(63, 'a') + "/", std::string(62, 'a') + ".."}) {
    EXPECT_FALSE(apns_token_valid(bad)) << bad;
  }
}

TEST(ApnsPayload, SaysWhoWroteAndWhat) {
  const ApnsMember members[] = {{"id", "x\"1"}};
  auto payload =
      write_apns_mail("Ann Example", "Minutes \"draft\" \\ 2",
                      {.thread_id = "t1", .category = "MAIL", .badge = 7, .mutable_content = true, .members = members});
  ASSERT_TRUE(payload);
  EXPECT_EQ(at(*payload, "/aps/alert/title"), "Ann Example");
  EXPECT_EQ(at(*payload, "/aps/alert/body"), "Minutes \"draft\" \\ 2");
  EXPECT_EQ(at(*payload, "/aps/thread-id"), "t1");
  EXPECT_EQ(at(*payload, "/aps/category"), "MAIL");
  EXPECT_EQ(at(*payload, "/aps/sound"), "default");
  EXPECT_EQ(at(*payload, "/aps/badge"), "7");
  EXPECT_EQ(at(*payload, "/aps/mutable-content"), "1");
  EXPECT_EQ(at(*payload, "/bellhop/what"), "new_mail");
  EXPECT_EQ(at(*payload, "/bellhop/id"), "x\"1");
  EXPECT_EQ(at(*payload, "/aps/alert/loc-key"), std::nullopt);
}

TEST(ApnsPayload, LeavesOutWhatIsNotAsked) {
  auto payload = write_apns_mail("A", "B", {.sound = ""});
  EXPECT_EQ(payload, R"({"aps":{"alert":{"title":"A","body":"B"}},"bellhop":{"what":"new_mail"}})");
}

TEST(ApnsPayload, ContentFreeAlertsCarryKeyAndFallback) {
  auto payload = write_apns_new_mail({.sound = ""});
  EXPECT_EQ(payload,
            R"({"aps":{"alert":{"loc-key":"BELLHOP_NEW_MAIL","body":"New mail"}},"bellhop":{"what":"new_mail"}})");
  auto more = write_apns_more_mail(23, {.sound = ""});
  EXPECT_EQ(more, R"({"aps":{"alert":{"loc-key":"BELLHOP_MORE_MAIL","body":"More new mail","loc-args":["23"]}},)"
                  R"("bellhop":{"what":"more_mail","count":"23"}})");
}

TEST(ApnsPayload, AMailWithoutSubjectStillHasAText) {
  auto payload = write_apns_mail("Ann", " \r\n\xe2\x80\xae", {});
  ASSERT_TRUE(payload);
  EXPECT_EQ(at(*payload, "/aps/alert/title"), "Ann");
  EXPECT_EQ(at(*payload, "/aps/alert/body"), "New mail");
  EXPECT_EQ(at(*payload, "/aps/alert/loc-key"), "BELLHOP_NEW_MAIL");
}

TEST(ApnsPayload, BadgeAndSilentHaveNoAlert) {
  EXPECT_EQ(write_apns_badge(0), R"({"aps":{"badge":0},"bellhop":{"what":"badge"}})");
  EXPECT_EQ(write_apns_silent(ApnsWhat::resubscribe),
            R"({"aps":{"content-available":1},"bellhop":{"what":"resubscribe"}})");
}

TEST(ApnsPayload, FillsButNeverPassesTheLimitWhateverTheTextIsMadeOf) {
  // Plain, growing when escaped, of 2 to 4 bytes, ill-formed.
  const std::string units[] = {
      "x", "\"", "\\", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x93\xac", "\xff", "a\"\xf0\x9f\x93\xac"};
  for (const std::string& unit : units) {
    for (size_t size : {size_t{3000}, size_t{3900}, size_t{3950}, size_t{4000}, size_t{4050}, size_t{100'000}}) {
      std::string text;
      while (text.size() < size) text += unit;
      auto payload = write_apns_mail("Ann", text, {.thread_id = "t"});
      ASSERT_TRUE(payload);
      EXPECT_LE(payload->size(), kApnsPayloadBytesMax);
      EXPECT_TRUE(utf8_valid(*payload));
      auto body = at(*payload, "/aps/alert/body");
      ASSERT_TRUE(body);
      std::string harmless = harmless_text(text);
      if (*body != harmless) {
        EXPECT_GE(payload->size(), kApnsPayloadBytesMax - 8) << "cut more than needed";
        EXPECT_THAT(*body, EndsWith(std::string(kEllipsis)));
        EXPECT_TRUE(harmless.starts_with(body->substr(0, body->size() - kEllipsis.size())));
      }
      EXPECT_EQ(at(*payload, "/aps/alert/title"), "Ann");
    }
  }
}

TEST(ApnsPayload, CutsOnlyFromTheFirstByteTooMuch) {
  std::string subject(3900, 's');
  while (at(*write_apns_mail("S", subject + "s", {}), "/aps/alert/body") == subject + "s") subject += "s";
  EXPECT_EQ(write_apns_mail("S", subject, {})->size(), kApnsPayloadBytesMax);
  EXPECT_EQ(write_apns_mail("S", subject + "s", {})->size(), kApnsPayloadBytesMax);
}

TEST(ApnsPayload, CutsTheSubjectBeforeTheSender) {
  std::string sender(1000, 'a'), subject(100'000, 'b');
  auto payload = write_apns_mail(sender, subject, {});
  EXPECT_EQ(at(*payload, "/aps/alert/title"), sender);
  EXPECT_THAT(*at(*payload, "/aps/alert/body"), EndsWith(std::string(kEllipsis)));

  std::string endless(100'000, 'a');
  payload = write_apns_mail(endless, subject, {});
  EXPECT_LE(payload->size(), kApnsPayloadBytesMax);
  EXPECT_THAT(*at(*payload, "/aps/alert/title"), EndsWith(std::string(kEllipsis)));
  EXPECT_EQ(at(*payload, "/aps/alert/body")->size(), 256u);

  payload = write_apns_mail(endless, "short", {});
  EXPECT_EQ(at(*payload, "/aps/alert/body"), "short");
  EXPECT_GE(payload->size(), kApnsPayloadBytesMax - 8);
}

TEST(ApnsPayload, GivesNothingWhereTheFixedMembersLeaveNoRoom) {
  std::string huge(kApnsPayloadBytesMax, 'm');
  const ApnsMember members[] = {{"id", huge}};
  EXPECT_FALSE(write_apns_mail("A", "B", {.members = members}));
  EXPECT_FALSE(write_apns_new_mail({.members = members}));
  EXPECT_FALSE(write_apns_more_mail(2, {.members = members}));
  EXPECT_FALSE(write_apns_silent(ApnsWhat::check_in, members));
  for (size_t size = 3900; size < 4096; ++size) {  // across the edge, with hardly any room for text
    std::string most(size, 'm');
    const ApnsMember tight[] = {{"id", most}};
    auto payload = write_apns_mail("Ann", "Subject", {.members = tight});
    if (payload) EXPECT_LE(payload->size(), kApnsPayloadBytesMax);
  }
}

TEST(JsonEscape, WritesWhatAParserReadsBack) {
  std::string all;
  for (int c = 0; c < 0x80; ++c) all.push_back(static_cast<char>(c));
  all += "\xc3\xa9\xf0\x9f\x93\xac";
  std::string out = "{\"a\":\"";
  append_json_escaped(out, all);
  EXPECT_EQ(out.size() - 6, json_escaped_size(all));
  EXPECT_EQ(at(out + "\"}", "/a"), all);
}

TEST(JsonEscape, CutsOnCharacterBoundariesByEscapedSize) {
  std::string_view text = "a\"\n\x01\xf0\x9f\x93\xacz";  // escaped: 1 2 2 6 4 1
  const size_t fits[] = {0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 8, 9, 9};
  for (size_t max = 0; max < std::size(fits); ++max) EXPECT_EQ(json_escaped_prefix(text, max).size(), fits[max]) << max;
}

constexpr WallTime kRegistered{std::chrono::milliseconds(1'700'000'000'000)};

TEST(ApnsAnswer, RoundTripsEachReasonAndJudgesItAsTheTableSays) {
  using enum ApnsVerdict;
  const std::map<std::string_view, ApnsVerdict> expected = {{"BadCollapseId", drop_payload},
                                                            {"BadDeviceToken", token_gone},
                                                            {"BadExpirationDate", drop_payload},
                                                            {"BadMessageId", drop_payload},
                                                            {"BadPriority", drop_payload},
                                                            {"BadTopic", route_broken},
                                                            {"DeviceTokenNotForTopic", token_gone},
                                                            {"DuplicateHeaders", drop_payload},
                                                            {"IdleTimeout", retry},
                                                            {"InvalidPushType", drop_payload},
                                                            {"MissingDeviceToken", drop_payload},
                                                            {"MissingTopic", route_broken},
                                                            {"PayloadEmpty", drop_payload},
                                                            {"TopicDisallowed", route_broken},
                                                            {"BadCertificate", route_broken},
                                                            {"BadCertificateEnvironment", route_broken},
                                                            {"ExpiredProviderToken", retry_new_token},
                                                            {"Forbidden", route_broken},
                                                            {"InvalidProviderToken", route_broken},
                                                            {"MissingProviderToken", route_broken},
                                                            {"BadPath", drop_payload},
                                                            {"MethodNotAllowed", drop_payload},
                                                            {"ExpiredToken", token_gone},
                                                            {"Unregistered", token_gone},
                                                            {"PayloadTooLarge", drop_payload},
                                                            {"TooManyProviderTokenUpdates", retry},
                                                            {"TooManyRequests", retry},
                                                            {"InternalServerError", retry},
                                                            {"ServiceUnavailable", retry},
                                                            {"Shutdown", retry}};
  ASSERT_EQ(apns_reasons().size(), expected.size());
  for (const ApnsReasonInfo& info : apns_reasons()) {
    EXPECT_EQ(&apns_reason_info(info.reason), &info);
    EXPECT_FALSE(info.why.empty());
    std::string body = write_apns_answer(info.reason, kRegistered + 1ms);
    ApnsAnswer answer = parse_apns_answer(info.status, as_bytes(body));
    EXPECT_EQ(answer.reason, info.reason) << body;
    EXPECT_FALSE(answer.malformed);
    EXPECT_EQ(answer.timestamp.has_value(), info.status == 410);
    EXPECT_EQ(classify_apns(answer, kRegistered), expected.at(info.name)) << info.name;
    EXPECT_EQ(apns_answer_loud(answer), info.loud) << info.name;
    answer.status = 400 + info.status % 100 + 50;  // a status that does not belong to the reason
    EXPECT_TRUE(apns_answer_loud(answer)) << info.name;
  }
}

TEST(ApnsAnswer, ForgetsATokenOnlyWhereApnsLearnedOfItsDeathAfterOurRegistration) {
  auto verdict = [](std::string_view body) {
    return classify_apns(parse_apns_answer(410, as_bytes(body)), kRegistered);
  };
  EXPECT_EQ(verdict(R"({"reason":"Unregistered","timestamp":1700000000001})"), ApnsVerdict::token_gone);
  EXPECT_EQ(verdict(R"({"reason":"Unregistered","timestamp":1700000000000})"), ApnsVerdict::retry);
  EXPECT_EQ(verdict(R"({"reason":"Unregistered","timestamp":1699999999999})"), ApnsVerdict::retry);
  EXPECT_EQ(verdict(R"({"reason":"Unregistered"})"), ApnsVerdict::retry);
  EXPECT_EQ(verdict(R"({"reason":"ExpiredToken","timestamp":1600000000000})"), ApnsVerdict::retry);
  EXPECT_EQ(verdict(R"({"reason":"SomethingNew","timestamp":1700000000001})"), ApnsVerdict::token_gone);
  EXPECT_EQ(verdict(R"({"reason":"SomethingNew"})"), ApnsVerdict::retry);
  EXPECT_EQ(verdict(""), ApnsVerdict::retry);
}

TEST(ApnsAnswer, JudgesByTheStatusWhereTheReasonIsUnknownOrAbsentAndSaysSoLoudly) {
  using enum ApnsVerdict;
  const std::pair<uint16_t, ApnsVerdict> cases[] = {
      {200, delivered},    {400, drop_payload}, {403, route_broken}, {404, drop_payload}, {405, drop_payload},
      {413, drop_payload}, {429, retry},        {500, retry},        {502, retry},        {503, retry},
      {599, retry},        {302, route_broken}, {407, route_broken}, {204, route_broken}};
  for (auto [status, verdict] : cases) {
    EXPECT_EQ(classify_apns(parse_apns_answer(status, {}), kRegistered), verdict) << status;
    ApnsAnswer unknown = parse_apns_answer(status, as_bytes(R"({"reason":"New\u0007Thing\n"})"));
    EXPECT_EQ(unknown.reason, ApnsReason::unknown);
    EXPECT_EQ(unknown.unknown_name, "New?Thing?");
    EXPECT_TRUE(apns_answer_loud(unknown));
    EXPECT_EQ(classify_apns(unknown, kRegistered), verdict) << status;
  }
  EXPECT_FALSE(apns_answer_loud(parse_apns_answer(200, {})));
  EXPECT_FALSE(apns_answer_loud(parse_apns_answer(503, {})));
  EXPECT_TRUE(apns_answer_loud(parse_apns_answer(400, {})));
}

TEST(ApnsAnswer, CallsABodyMalformedAndNeverBelievesIt) {
  for (std::string_view body :
       {"{", "[]", "\"Unregistered\"", "{}", R"({"reason":7})", R"({"reason":"Unregistered"}x)",
        R"({"reason":"Unregistered","reason":"Shutdown"})", R"({"reason":"Unregistered","timestamp":"1"})",
        R"({"reason":"Unregistered","timestamp":-1})", R"({"reason":"Unregistered","timestamp":1.5})",
        R"({"timestamp":1700000000001})", "\xff\xfe", "<html>"}) {
    ApnsAnswer answer = parse_apns_answer(503, as_bytes(body));
    EXPECT_TRUE(answer.malformed) << body;
    EXPECT_EQ(answer.reason, ApnsReason::none) << body;
    EXPECT_FALSE(answer.timestamp) << body;
    EXPECT_TRUE(apns_answer_loud(answer));
    EXPECT_EQ(classify_apns(answer, kRegistered), ApnsVerdict::retry) << body;
  }
  std::string large = R"({"reason":"Shutdown","x":")" + std::string(kApnsAnswerBytesMax, 'x') + "\"}";
  EXPECT_TRUE(parse_apns_answer(503, as_bytes(large)).malformed);
  EXPECT_FALSE(parse_apns_answer(503, as_bytes(R"( {"x":[1,{}],"reason":"Shutdown"} )")).malformed);
  std::string whole = write_apns_answer(ApnsReason::unregistered, kRegistered);
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_TRUE(parse_apns_answer(410, as_bytes(std::string_view(whole).substr(0, size))).malformed) << size;
  }
}

TEST(ApnsAnswer, ReadsTheReasonInGoawaysDebugData) {
  ApnsAnswer answer = parse_apns_answer(0, as_bytes(R"({"reason":"BadCertificate"})"));
  EXPECT_EQ(answer.reason, ApnsReason::bad_certificate);
  EXPECT_EQ(classify_apns(answer, kRegistered), ApnsVerdict::route_broken);
}

}  // namespace
}  // namespace bellhop::proto
