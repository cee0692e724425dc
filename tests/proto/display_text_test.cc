// SPDX-License-Identifier: Apache-2.0
#include "proto/display_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/bytes.h"
#include "proto/encoded_word.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

TEST(HarmlessText, DropsAndReplacesWhatCouldHarmADisplay) {
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"a\r\nb\tc\nd", "a b c d"},
      {"a\r\n\r\nb", "a b"},
      {"a\x01\x1f\x7f"
       "b"s,
       "ab"},
      {"a\0b"s, "ab"},
      {"a\xc2\x80\xc2\x9f"
       "b",
       "ab"},
      {"a\xc2\x85"
       "b",
       "a b"},
      {"a\xe2\x80\xa8\xe2\x80\xa9"
       "b",
       "a b"},
      {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xaeZ", "Z"},
      {"\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9Z", "Z"},
      {"\xe2\x80\x8e\xe2\x80\x8f\xd8\x9cZ", "Z"},
      {"a\xff\xfe"
       "b",
       "a\xef\xbf\xbd\xef\xbf\xbd"
       "b"},
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
      {"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x92\xbb",
       "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x92\xbb"},                          // joined emoji stay
      {"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d", "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d"},  // right-to-left text stays
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(harmless_text(text), expected) << testing::PrintToString(text);
}


TEST(HarmlessText, DropsWhatCannotBeSeen) {
  const std::pair<std::string, std::string> cases[] = {
      {"pay\u200bpal\u2060 \ufeffin\u00advoice", "paypal invoice"},
      {"\u3164\u115f\u1160\uffa0", ""},
      {"a\u2061\u2062\u2063\u2064b\ufff9\ufffa\ufffb", "ab"},
      {"flag\U000E0067\U000E007F", "flag"},
      {"\u200d\u200ca\u200d\u200d\u200cb\u200c", "a\u200cb"},  // joiners: the last one, between two characters
      {"a\u200d b\u200d\nc", "a b c"},
      {"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(harmless_text(text), expected) << testing::PrintToString(text);
}

TEST(HarmlessText, LetsAFewCombiningMarksStand) {
  std::string few = "Vie\u0323\u0302t", flood = "Z";
  for (int i = 0; i < 100; ++i) flood += "\u0351";
  EXPECT_EQ(harmless_text(few), few);
  std::string cut = harmless_text(flood + "a\u0301");
  EXPECT_EQ(cut, "Z\u0351\u0351\u0351\u0351" "a\u0301");
}

TEST(HarmlessText, GivesWellFormedTextThatItLeavesAsItIs) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t size = random() % 40; size > 0; --size) {
      constexpr std::string_view kPieces[] = {"\u202e", "\u200d", "\u0301", "\n", "a", "\xff", "\xe2\x80", "\U0001F4EC", " "};
      text += random() % 3 ? std::string(kPieces[random() % std::size(kPieces)]) : std::string(1, char(random()));
    }
    std::string once = harmless_text(text);
    EXPECT_TRUE(utf8_valid(once));
    EXPECT_EQ(harmless_text(once), once) << testing::PrintToString(text);
  }
}

TEST(EncodedWord, IsDecodedWhereverItStands) {
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"},
      {"=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"},
      {"=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"},  // without its padding
      {"=?iso-8859-1?q?Gr=FC=DFe_an_alle?=", "Grüße an alle"},
      {"=?windows-1252?Q?10_=80_=96_now?=", "10 € – now"},
      {"=?iso-8859-15?Q?10_=A4?=", "10 €"},
      {"=?us-ascii*en?Q?Hello?=", "Hello"},
      {"Re: =?utf-8?Q?a?= =?utf-8?Q?b?= c", "Re: ab c"},        // white space between words goes
      {"=?utf-8?Q?a?=\r\n =?iso-8859-1?Q?=E9?=", "aé"},
      {"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"},                 // a character in two words
      {"=?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"},
      {"\"=?utf-8?Q?M=C3=BCller=2C_Anna?=\"", "\"Müller, Anna\""},
      {"=?utf-8?Q?with a space?=", "with a space"},             // not permitted, and common
      {"=?utf-8?Q?what=3F?=", "what?"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(decode_encoded_words(text), expected) << text;
}

TEST(EncodedWord, ThatDoesNotDecodeStaysAsItIs) {
  for (std::string text : {"=?", "=??", "=?utf-8", "=?utf-8?", "=?utf-8?Q", "=?utf-8?Q?", "=?utf-8?Q?a", "=?utf-8?Q?a?",
                           "=?utf-8?X?a?=", "=?utf-8?QQ?a?=", "=?gb2312?B?xOO6ww==?=", "=?utf-8?Q?=4?=", "=?utf-8?Q?=zz?=",
                           "=?utf-8?B?!!!!?=", "=?utf-8?B?A?=", "=? ?Q?a?=", "a =?= b ?= c"}) {
    EXPECT_EQ(decode_encoded_words(text), text);
  }
  EXPECT_EQ(decode_encoded_words("=?bad?Q?a?= =?utf-8?Q?b?="), "=?bad?Q?a?= b");
}

TEST(EncodedWord, MutantsAreSurvivedAndNeverGrowBeyondThreeTimes) {
  std::mt19937 random(3);
  const std::string whole = "Re: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?iso-8859-15?B?pKSk?= x =?windows-1252?Q?=80=80?=";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = whole;
    for (size_t edits = 1 + random() % 4; edits > 0; --edits) {
      size_t place = random() % text.size();
      if (random() % 2) text[place] = char(random());
      else text.erase(place, 1 + random() % 5);
      if (text.empty()) text = "?";
    }
    EXPECT_LE(decode_encoded_words(text).size(), 3 * text.size());
    EXPECT_TRUE(utf8_valid(display_text(text)));
  }
}

TEST(DisplayText, MakesHarmlessWhatAnEncodedWordHid) {
  EXPECT_EQ(display_text("=?utf-8?Q?=E2=80=AEexe.fdp=0D=0ABcc:_x=00?="), "exe.fdp Bcc: x");
  EXPECT_EQ(display_text("=?utf-8?B?//8=?="), "\ufffd\ufffd");
  EXPECT_EQ(display_text("Plain \u202esubject"), "Plain subject");
}

}  // namespace
}  // namespace bellhop::proto
