// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_lines.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/error_texts.h"

namespace bellhop::service {
namespace {

using testing::HasSubstr;

struct Read {
  std::vector<ComplianceLine> lines;
  std::string complaint;
  bool good = false;
};

// The text in pieces of `piece` bytes.
Read read(std::string_view text, bool delta = false, size_t piece = 4096) {
  Read result;
  ComplianceReader reader(delta, [&](const ComplianceLine& line) -> Status {
    result.lines.push_back(line);
    return {};
  });
  Status status;
  for (size_t at = 0; status && at < text.size(); at += piece) status = reader.feed(text.substr(at, piece));
  if (status) status = reader.finish();
  result.good = status.has_value();
  result.complaint = reader.complaint();
  return result;
}

constexpr std::string_view kWhole =
    R"({"deviceId":"ApplF1","otherIds":["phone1"],"account":"ann@example.com","managed":true,"compromised":"no",)"
    R"("encrypted":null,"activeSyncProfile":"yes","override":"block","model":"A \"b\" {[","os":"iOS","osVersion":"17.2",)"
    R"("deviceType":"iPhone","mailClient":"Boxer","lastContact":"2026-01-31T12:00:00Z","wiped":false})";

TEST(ComplianceLines, AreReadHoweverTheyAreCut) {
  std::string lines = std::string(kWhole) + "\n" + std::string(kWhole) + "\r\n\n";
  std::string array = " [ " + std::string(kWhole) + " , " + std::string(kWhole) + "]\n";
  for (const std::string& text : {lines, array}) {
    for (size_t piece : {1, 2, 7, 1000}) {
      Read got = read(text, false, piece);
      ASSERT_TRUE(got.good) << got.complaint;
      ASSERT_EQ(got.lines.size(), 2u);
      const ComplianceLine& line = got.lines[1];
      EXPECT_EQ(line.device_id, "ApplF1");
      EXPECT_EQ(line.other_ids, std::vector<std::string>{"phone1"});
      EXPECT_EQ(line.account, "ann@example.com");
      EXPECT_EQ(line.managed, Known::yes);
      EXPECT_EQ(line.compromised, Known::no);
      EXPECT_EQ(line.encrypted, Known::unknown);
      EXPECT_EQ(line.activesync_profile, Known::yes);
      EXPECT_EQ(line.override_to, ComplianceOverride::block);
      EXPECT_EQ(line.model, "A \"b\" {[");
      EXPECT_EQ(line.last_contact, WallTime(std::chrono::seconds(1'769'860'800)));
      EXPECT_FALSE(line.wiped);
    }
  }
}

TEST(ComplianceLines, EmptyListIsAList) {
  EXPECT_TRUE(read("[]").good);
  EXPECT_TRUE(read(" [ ] ").good);
  EXPECT_TRUE(read("").good) << "whether nothing may come is the caller's to say";
}

TEST(ComplianceLines, ThatCannotBeUsedAreRefusedWithTheirNumber) {
  auto complaint = [](std::string_view text) {
    Read got = read(text);
    EXPECT_FALSE(got.good) << text;
    return got.complaint;
  };
  EXPECT_THAT(complaint(R"({"deviceId":"a"}{"deviceId":"b","managed":"perhaps"})"), HasSubstr("device 2: \"managed\" is \"perhaps\""));
  EXPECT_THAT(complaint(R"({"deviceId":"a","compromized":true})"), HasSubstr("\"compromized\" is no member"));
  EXPECT_THAT(complaint(R"({"managed":true})"), HasSubstr("\"deviceId\" is missing"));
  EXPECT_THAT(complaint(R"({"deviceId":""})"), HasSubstr("no text of 1 to"));
  // Before 1970 a number cannot say it, and what is kept of a time ends in 2106.
  for (const char* time : {"4052-01-31T12:00:00Z", "1960-01-31T12:00:00Z", "2106-02-07T06:28:16Z", "1970-01-01T00:00:00+00:01"}) {
    EXPECT_THAT(complaint(fmt::format(R"({{"deviceId":"a","lastContact":"{}"}})", time)), HasSubstr("is no time")) << time;
  }
  EXPECT_TRUE(read(R"({"deviceId":"a","lastContact":"2106-02-07T06:28:15Z"})").good);
  EXPECT_THAT(complaint(R"({"deviceId":"a","override":"deny"})"), HasSubstr("accepted: \"none\", \"allow\", \"block\""));
  EXPECT_THAT(complaint(R"({"deviceId":"a","lastContact":"yesterday"})"), HasSubstr("is no time"));
  EXPECT_THAT(complaint(R"({"deviceId":"a","removed":true})"), HasSubstr("belongs to PATCH"));
  EXPECT_THAT(complaint(R"({"deviceId":"a")"), HasSubstr("ends within"));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"})"), HasSubstr("without \"]\""));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"}{"deviceId":"b"}])"), HasSubstr("does not belong there"));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"},])"), HasSubstr("does not belong there"));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"}] {)"), HasSubstr("does not belong there"));
  EXPECT_THAT(complaint("deviceId,managed\n"), HasSubstr("does not belong there"));
  EXPECT_EQ(complaint(R"({"deviceId":"a","managed":"ann@example.com"})").find("ann@"), std::string::npos);
}

TEST(ComplianceLines, ARefusalCountsToTheDeviceThatItIsAbout) {
  const std::string three = "{\"deviceId\":\"a\"}\n{\"deviceId\":\"b\"}\n{\"deviceId\":\"c\"}\n";
  const std::string longer = "{\"deviceId\":\"" + std::string(9000, 'x') + "\"}";
  for (size_t piece : {1, 7, 20'000}) {
    EXPECT_EQ(read(three + longer, false, piece).complaint, "device 4: its object is longer than 8 KiB");
    EXPECT_EQ(read(longer, false, piece).complaint, "device 1: its object is longer than 8 KiB");
    EXPECT_EQ(read(R"({"deviceId":"a")", false, piece).complaint, "device 1: the data ends within its object");
    EXPECT_EQ(read(three + "{", false, piece).complaint, "device 4: the data ends within its object");
    EXPECT_THAT(read(three + "{\"deviceId\":1}", false, piece).complaint, HasSubstr("device 4: \"deviceId\" is"));
    EXPECT_THAT(read("deviceId,managed\n", false, piece).complaint, testing::StartsWith("before device 1: a character that"));
    EXPECT_THAT(read(three + ";", false, piece).complaint, testing::StartsWith("after device 3: a character that"));
    EXPECT_THAT(read("[{\"deviceId\":\"a\"}", false, piece).complaint, testing::StartsWith("after device 1: the data ends"));
  }
}

TEST(ComplianceLines, AValueOfAnotherJsonTypeIsToldByItsType) {
  auto complaint = [](std::string_view member) { return read(fmt::format(R"({{"deviceId":"a",{}}})", member)).complaint; };
  EXPECT_EQ(complaint(R"("managed":1)"), R"(device 1: "managed" is a number; accepted: true, false, null, "yes", "no", "unknown")");
  EXPECT_THAT(complaint(R"("compromised":{})"), HasSubstr("\"compromised\" is an object;"));
  EXPECT_THAT(complaint(R"("encrypted":["yes"])"), HasSubstr("\"encrypted\" is a list;"));
  EXPECT_THAT(complaint(R"("override":true)"), HasSubstr("\"override\" is a boolean;"));
  EXPECT_THAT(complaint(R"("managed":"")"), HasSubstr("\"managed\" is \"\";"));
}

TEST(ComplianceLines, AByteOrderMarkIsNamed) {
  for (size_t piece : {1, 2, 100}) {
    EXPECT_THAT(read("\xef\xbb\xbf{\"deviceId\":\"a\"}", false, piece).complaint, HasSubstr("byte order mark"));
    // Two of its bytes are none.
    for (const char* text : {"\xef\xbb{\"deviceId\":\"a\"}", "\xef \xbb\xbf{}", "\xef\xbb", "\xbb\xbf{}"}) {
      Read got = read(text, false, piece);
      EXPECT_FALSE(got.good);
      EXPECT_THAT(got.complaint, HasSubstr("does not belong there")) << text;
    }
  }
}

TEST(ComplianceLines, AnAccountIsAnAddress) {
  for (const char* good : {"ann@example.com", "Ann.B+c@EXAMPLE.com", "ann@localhost", "\u00e4nn@example.com", ""}) {
    Read got = read(fmt::format(R"({{"deviceId":"a","account":"{}"}})", good));
    EXPECT_TRUE(got.good) << got.complaint;
    EXPECT_EQ(got.lines.at(0).account, good);
  }
  EXPECT_EQ(read(R"({"deviceId":"a","account":null})").lines.at(0).account, "") << "forgotten";
  for (const char* bad : {R"("nobody")", R"("EXAMPLE\\user1")", R"("ann@example.com ")", R"(" ann@example.com")", R"("ann@")",
                          R"("@example.com")", R"("a@b@example.com")", R"("ann b@example.com")", R"("ann@example.com\n")",
                          R"("EXAMPLE\\ann@example.com")", R"("ann\u007f@example.com")", "5", "true"}) {
    Read got = read(fmt::format(R"({{"deviceId":"a","account":{}}})", bad));
    EXPECT_FALSE(got.good) << bad;
    EXPECT_EQ(got.complaint, "device 1: \"account\" is no address; accepted: user@domain, the mailbox's, of at most 320 bytes") << bad;
  }
  EXPECT_FALSE(read(fmt::format(R"({{"deviceId":"a","account":"{}@example.com"}})", std::string(320, 'a'))).good);
}

TEST(ComplianceLines, ADeviceThatWasNamedIsRefusedWithItsNumber) {
  ComplianceReader reader(false, [](const ComplianceLine& line) -> Status {
    if (line.device_id == "b") return fail(service_error(ServiceError::compliance_repeated));
    return {};
  });
  Status read = reader.feed(R"([{"deviceId":"a"},{"deviceId":"b"}])");
  EXPECT_TRUE(!read && is(read.error(), ServiceError::compliance_data));
  EXPECT_EQ(reader.complaint(), "device 2: named already by an earlier line, by this name or another; name each device once");
}

TEST(ComplianceLines, OfADeltaMayRemove) {
  Read got = read(R"({"deviceId":"a","removed":true})", true);
  ASSERT_TRUE(got.good) << got.complaint;
  EXPECT_TRUE(got.lines[0].removed);
}

TEST(Times, AreReadAsRfc3339) {
  auto seconds = [](std::string_view text) {
    auto time = parse_time(text);
    return time ? std::chrono::floor<std::chrono::seconds>(*time).time_since_epoch().count() : -1;
  };
  EXPECT_EQ(seconds("1970-01-01T00:00:10Z"), 10);
  EXPECT_EQ(seconds("1970-01-01T00:00:10.250Z"), 10);
  EXPECT_EQ(seconds("1970-01-01T02:00:10+02:00"), 10);
  EXPECT_EQ(seconds("1969-12-31T22:00:10-02:00"), 10);
  for (std::string_view bad : {"", "1970-01-01", "1970-13-01T00:00:00Z", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z",
                               "1970-01-01T00:00:00", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00+2", "197x-01-01T00:00:00Z"}) {
    EXPECT_EQ(seconds(bad), -1) << bad;
  }
}

}  // namespace
}  // namespace bellhop::service
