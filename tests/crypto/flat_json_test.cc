// SPDX-License-Identifier: Apache-2.0
#include "crypto/flat_json.h"

#include <gtest/gtest.h>

#include "crypto/error.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

constexpr std::string_view kSample =
    " { \"a\" : \"x\\n\\u00e9\\ud83d\\udd14\\\"\\/\" ,\"b\":-12, \"c\":true,\"d\":false,\"e\":null,\"f\":0, \"\":\"\" "
    "} \r\n";

TEST(FlatJson, ReadsEachKindOfValue) {
  const auto object = FlatJson::parse(kSample);
  ASSERT_TRUE(object);
  EXPECT_EQ(std::string_view(*object->text("a")), "x\n\xc3\xa9\xf0\x9f\x94\x94\"/");
  EXPECT_EQ(*object->integer("b"), -12);
  EXPECT_EQ(*object->integer("f"), 0);
  EXPECT_TRUE(object->has("c") && object->has("d") && object->has("e"));
  EXPECT_EQ(object->text("b"), nullptr);
  EXPECT_EQ(object->integer("a"), nullptr);
  EXPECT_FALSE(object->has("g"));
  EXPECT_EQ(object->members().size(), 7u);
  EXPECT_TRUE(FlatJson::parse("{}"));
}

TEST(FlatJson, RefusesWhatIsNotAFlatObject) {
  for (std::string_view bad : {"",
                               " ",
                               "{",
                               "}",
                               "[]",
                               "1",
                               "\"a\"",
                               "{}x",
                               "{}{}",
                               "{\"a\"}",
                               "{\"a\":}",
                               "{\"a\":1,}",
                               "{,}",
                               "{a:1}",
                               "{'a':1}",
                               "{\"a\":1 \"b\":2}",
                               "{\"a\":[]}",
                               "{\"a\":{}}",
                               "{\"a\":01}",
                               "{\"a\":1.5}",
                               "{\"a\":1e3}",
                               "{\"a\":-}",
                               "{\"a\":+1}",
                               "{\"a\":9223372036854775808}",
                               "{\"a\":1,\"a\":2}",
                               "{\"a\":1,\"\\u0061\":2}",
                               "{\"a\":\"\n\"}",
                               "{\"a\":\"\\x\"}",
                               "{\"a\":\"\\u12g4\"}",
                               "{\"a\":\"\\u0000\"}",
                               "{\"a\":\"\\ud800\"}",
                               "{\"a\":\"\\ud800\\u0041\"}",
                               "{\"a\":\"\\udc00\"}",
                               "{\"a\":\"\xff\"}",
                               "{\"a\":tru}",
                               "{\"a\":nullx}",
                               "\xef\xbb\xbf{}",
                               "{\"a\":\"b}"}) {
    EXPECT_TRUE(failed_with(FlatJson::parse(bad), CryptoError::malformed)) << bad;
  }
}

TEST(FlatJson, RefusesEveryTruncation) {
  const size_t end = kSample.rfind('}');
  for (size_t size = 0; size <= end; ++size) EXPECT_FALSE(FlatJson::parse(kSample.substr(0, size))) << size;
}

TEST(FlatJson, SurvivesEveryChangeOfOneByte) {
  std::string text(kSample);
  size_t accepted = 0, refused = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      text[at] = static_cast<char>(value);
      ++(FlatJson::parse(text) ? accepted : refused);
    }
    text[at] = kSample[at];
  }
  EXPECT_GT(accepted, 0u);
  EXPECT_GT(refused, accepted);
}

TEST(FlatJson, HoldsItsBounds) {
  EXPECT_TRUE(FlatJson::parse("{\"a\":1,\"b\":2}", {.bytes_max = 13, .members_max = 2}));
  EXPECT_FALSE(FlatJson::parse("{\"a\":1,\"b\":2}", {.bytes_max = 12, .members_max = 2}));
  EXPECT_FALSE(FlatJson::parse("{\"a\":1,\"b\":2}", {.bytes_max = 13, .members_max = 1}));
}

TEST(FlatJson, ReadsBackWhatTheWriterEscapes) {
  const std::string_view text = "q\"b\\n\n\x01\x1f t\xc3\xa9\x7f/";
  WipingString out = "{\"k\":";
  append_json_string(out, text);
  out += "}";
  const auto object = FlatJson::parse(out);
  ASSERT_TRUE(object);
  EXPECT_EQ(std::string_view(*object->text("k")), text);
}

}  // namespace
}  // namespace bellhop::crypto
