// SPDX-License-Identifier: Apache-2.0
#include "proto/properties.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/bytes.h"

namespace bellhop::proto {
namespace {

using testing::ElementsAre;

// "line name|value"
std::vector<std::string> read(std::string_view text) {
  auto properties = parse_properties(text);
  if (!properties) return {"fault in line " + std::to_string(properties.error().line)};
  std::vector<std::string> shown;
  for (const Property& property : *properties) {
    shown.push_back(std::to_string(property.line) + " " + property.name + "|" + property.value);
  }
  return shown;
}

TEST(Properties, AnEqualsSignAColonOrBlanksSeparate) {
  EXPECT_THAT(read("a=1\nb:2\nc 3\nd = 4\n  e\t:\t5\nf  =  =6\ng==7"),
              ElementsAre("1 a|1", "2 b|2", "3 c|3", "4 d|4", "5 e|5", "6 f|=6", "7 g|=7"));
}

TEST(Properties, AValueKeepsItsColonsAndBlanksAtTheEnd) {
  EXPECT_THAT(read("url=https://mail.example.com:443 \n"), ElementsAre("1 url|https://mail.example.com:443 "));
  EXPECT_THAT(read("https\\://x y"), ElementsAre("1 https://x|y"));
}

TEST(Properties, CommentsAndEmptyLinesAreSkippedAndCounted) {
  EXPECT_THAT(read("# a\n! b \\\nc=1\r\n\r\n  # d\r\ne=2"), ElementsAre("3 c|1", "6 e|2"));
  EXPECT_THAT(read(""), ElementsAre());
  EXPECT_THAT(read("#"), ElementsAre());
  EXPECT_THAT(read("a=#1"), ElementsAre("1 a|#1")) << "a comment has a line to itself";
}

TEST(Properties, ABackslashContinuesALine) {
  EXPECT_THAT(read("a=one,\\\n    two,\\\r\n  three\nb=4"), ElementsAre("1 a|one,two,three", "4 b|4"));
  EXPECT_THAT(read("a\\\n  b = 1"), ElementsAre("1 ab|1"));
  EXPECT_THAT(read("a\\\\\nb=1"), ElementsAre("1 a\\|", "2 b|1")) << "two of them are a character";
  EXPECT_THAT(read("a=1\\"), ElementsAre("1 a|1"));
}

TEST(Properties, EscapesStandForCharacters) {
  EXPECT_THAT(read("a=\\t\\n\\r\\f\\:\\=\\x\\\\"), ElementsAre("1 a|\t\n\r\f:=x\\"));
  EXPECT_THAT(read("a=\\u00e4\\u20AC\\uD83D\\ude00"), ElementsAre("1 a|ä€😀"));
  EXPECT_THAT(read("a\\ b\\=c=1"), ElementsAre("1 a b=c|1"));
}

TEST(Properties, ANameAloneHasAnEmptyValueAndARepeatedNameStaysTwice) {
  EXPECT_THAT(read("a\nb=\na=2"), ElementsAre("1 a|", "2 b|", "3 a|2"));
  EXPECT_THAT(read("=1"), ElementsAre("1 |1"));
}

TEST(Properties, WhatIsNoTextIsRefusedWithItsLine) {
  EXPECT_THAT(read("a=1\nb=\\u12"), ElementsAre("fault in line 2"));
  EXPECT_THAT(read("a=\\ud800"), ElementsAre("fault in line 1")) << "half of a pair";
  EXPECT_THAT(read("a=\\udc00\\ud800"), ElementsAre("fault in line 1"));
  EXPECT_THAT(read("a=\\ud800\\u0041"), ElementsAre("fault in line 1"));
  EXPECT_THAT(read("a=\xff"), ElementsAre("fault in line 1"));
  EXPECT_THAT(read("\xef\xbb\xbf" "a=1"), ElementsAre("1 a|1"));
}

TEST(Properties, SizeAndNumberAreBounded) {
  std::string many;
  for (size_t i = 0; i < kPropertiesMax; ++i) many += "a=1\n";
  EXPECT_EQ(read(many).size(), kPropertiesMax);
  EXPECT_THAT(read(many + "b=1"), ElementsAre("fault in line 10001"));
  EXPECT_THAT(read("#" + std::string(kPropertiesBytesMax, ' ')), ElementsAre("fault in line 1"));
}

TEST(Properties, EveryPrefixOfATextEndsWell) {
  std::string_view text = "a\\u00e4 = x\\\r\n \\uD83D\\ude00 y\n! c\nb:\\";
  for (size_t size = 0; size <= text.size(); ++size) {
    auto properties = parse_properties(text.substr(0, size));
    if (!properties) {
      EXPECT_FALSE(properties.error().what.empty());
      continue;
    }
    EXPECT_LE(properties->size(), 2u);
    for (const Property& property : *properties) EXPECT_TRUE(utf8_valid(property.name + property.value));
  }
}

}  // namespace
}  // namespace bellhop::proto
