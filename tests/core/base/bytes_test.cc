// SPDX-License-Identifier: Apache-2.0
#include "core/base/bytes.h"

#include <gtest/gtest.h>

namespace bellhop {
namespace {

TEST(Base64url, RoundTripsTheRfc4648Vectors) {
  const std::pair<std::string_view, std::string_view> vectors[] = {
      {"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  for (auto [plain, text] : vectors) {
    EXPECT_EQ(to_base64url(as_bytes(plain)), text);
    auto decoded = from_base64url(text);
    ASSERT_TRUE(decoded) << text;
    EXPECT_EQ(as_text(*decoded), plain);
  }
}

TEST(Base64url, RefusesWhatHasTwoSpellings) {
  for (std::string_view text : {"A", "Zh", "Zm9=", "Zg==", "Zm 9v", "Zm9v\n", "+/8", "Zm9vA"}) {
    EXPECT_FALSE(from_base64url(text)) << text;
  }
}

TEST(Base64url, RefusesWhatDoesNotFitTheCallersBuffer) {
  uint8_t room[2];
  EXPECT_FALSE(from_base64url("Zm9v", room));
  EXPECT_EQ(from_base64url("Zm8", room), 2u);
}

TEST(Base64, WantsItsPadding) {
  EXPECT_TRUE(from_base64("Zg=="));
  EXPECT_FALSE(from_base64("Zg"));
  EXPECT_FALSE(from_base64("Zg="));
  EXPECT_FALSE(from_base64("Zg==="));
  EXPECT_TRUE(from_base64("+/8="));
}

TEST(Hex, AcceptsBothCasesAndRefusesTheRest) {
  EXPECT_EQ(to_hex(as_bytes("\x01\xfe")), "01fe");
  EXPECT_TRUE(from_hex("01FE"));
  EXPECT_FALSE(from_hex("01f"));
  EXPECT_FALSE(from_hex("0g"));
}

TEST(Utf8, RefusesOverlongSurrogateAndTooLarge) {
  EXPECT_TRUE(utf8_valid("h\xc3\xa9llo \xf0\x9f\x94\x94"));
  for (std::string_view bad : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xff"}) {
    EXPECT_FALSE(utf8_valid(bad));
    EXPECT_TRUE(utf8_valid(utf8_repaired(bad)));
  }
}

TEST(Utf8, PrefixNeverSplitsACharacter) {
  std::string_view bell = "a\xf0\x9f\x94\x94";
  EXPECT_EQ(utf8_prefix(bell, 4), "a");
  EXPECT_EQ(utf8_prefix(bell, 5), bell);
  EXPECT_EQ(utf8_prefix(bell, 0), "");
}

TEST(Decimal, RefusesOverflowSignAndSpace) {
  EXPECT_EQ(parse_decimal("18446744073709551615"), UINT64_MAX);
  for (std::string_view bad : {"", "18446744073709551616", "+1", "-1", " 1", "1 ", "0x1"}) EXPECT_FALSE(parse_decimal(bad)) << bad;
}

TEST(ConstantTimeEqual, ComparesLengthAndContent) {
  EXPECT_TRUE(equal_constant_time(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("ab")));
}

}  // namespace
}  // namespace bellhop
