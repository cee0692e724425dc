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
  EXPECT_THAT(complaint(R"([{"deviceId":"a"}{"deviceId":"b"}])"), HasSubstr("another character"));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"},])"), HasSubstr("another character"));
  EXPECT_THAT(complaint(R"([{"deviceId":"a"}] {)"), HasSubstr("another character"));
  EXPECT_THAT(complaint("deviceId,managed\n"), HasSubstr("another character"));
  EXPECT_THAT(complaint("{\"deviceId\":\"" + std::string(9000, 'x') + "\"}"), HasSubstr("8 KiB"));
  EXPECT_EQ(complaint(R"({"deviceId":"a","managed":"ann@example.com"})").find("ann@"), std::string::npos);
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
