// SPDX-License-Identifier: Apache-2.0
#include "proto/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "proto/error_texts.h"
#include "proto/json_writer.h"
#include "proto/problem.h"

namespace bellhop::proto {
namespace {

using namespace std::string_literals;

TEST(Json, ReadsMembersByTypeAndName) {
  auto document = JsonDocument::parse(
      R"({"userId":"ab\u0041\n","badge":true,"n":-5,"u":18446744073709551615,"d":1.5,"o":{"x":"y"},"a":[1,"two",null],"z":null})");
  ASSERT_TRUE(document);
  JsonObject root = document->root();
  EXPECT_EQ(root.string("userId").value(), "abA\n");
  EXPECT_EQ(root.required_string("userId").value(), "abA\n");
  EXPECT_EQ(root.boolean("badge").value(), true);
  EXPECT_EQ(root.integer("n").value(), -5);
  EXPECT_EQ(root.required_integer("n").value(), -5);
  EXPECT_EQ(root.unsigned_integer("u").value(), UINT64_MAX);
  EXPECT_EQ(root.number("d").value(), 1.5);
  EXPECT_EQ(root.number("n").value(), -5.0);
  EXPECT_EQ(root.required_object("o")->string("x").value(), "y");
  JsonArray array = root.required_array("a").value();
  ASSERT_EQ(array.size(), 3u);
  EXPECT_EQ(array.at(0).integer().value(), 1);
  EXPECT_EQ(array.at(1).string().value(), "two");
  EXPECT_EQ(array.at(2).kind(), JsonKind::null);
}

TEST(Json, TreatsNullAsAbsent) {
  auto document = JsonDocument::parse(R"({"z":null})");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->root().string("z").value(), std::nullopt);
  EXPECT_EQ(document->root().string("nothing").value(), std::nullopt);
  EXPECT_TRUE(document->root().find("z"));
  auto required = document->root().required_string("z");
  ASSERT_FALSE(required);
  EXPECT_TRUE(is(required.error(), JsonError::missing_member));
}

TEST(Json, ShowsMembersThatNobodyAskedFor) {
  auto document = JsonDocument::parse(R"({"b":1,"a":{"c":[]}})");
  ASSERT_TRUE(document);
  ASSERT_EQ(document->root().size(), 2u);
  EXPECT_EQ(document->root().at(0).name, "b");
  EXPECT_EQ(document->root().at(1).name, "a");
  EXPECT_EQ(document->root().at(1).value.kind(), JsonKind::object);
}

TEST(Json, NamesTheMemberInAnError) {
  register_error_texts();
  auto document = JsonDocument::parse(R"({"userId":5,"n":1.0,"m":-1,"big":9223372036854775808})");
  ASSERT_TRUE(document);
  JsonObject root = document->root();
  auto wrong = root.string("userId");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(document->explain(wrong.error()), "member \"userId\" has the wrong type");
  auto missing = root.required_string("deviceId");
  ASSERT_FALSE(missing);
  EXPECT_EQ(document->explain(missing.error()), "member \"deviceId\" is missing");
  EXPECT_FALSE(root.integer("n"));
  EXPECT_FALSE(root.unsigned_integer("m"));
  EXPECT_FALSE(root.integer("big"));
  EXPECT_FALSE(root.boolean("userId"));
  EXPECT_FALSE(root.object("userId"));
  EXPECT_FALSE(root.array("userId"));
  EXPECT_FALSE(root.required_array("userId"));
  EXPECT_EQ(error_text(missing.error()), "json: a required member is missing");
  auto unnamed = root.find("n")->string();
  ASSERT_FALSE(unnamed);
  EXPECT_EQ(document->explain(unnamed.error()), "json: a member has the wrong type");
}

struct Refusal {
  std::string text;
  JsonError code;
};

TEST(Json, RefusesWhatIsNotOneStrictObject) {
  using enum JsonError;
  const Refusal table[] = {
      {"", malformed},
      {" ", malformed},
      {"{", malformed},
      {"}", malformed},
      {"{}}", malformed},
      {"{}{}", malformed},
      {"{} x", malformed},
      {"\xef\xbb\xbf{}", malformed},
      {"[]", not_an_object},
      {"null", not_an_object},
      {"\"a\"", not_an_object},
      {"5", not_an_object},
      {"{'a':1}", malformed},
      {"{a:1}", malformed},
      {"{\"a\":1,}", malformed},
      {"{\"a\"}", malformed},
      {"{\"a\":}", malformed},
      {"{\"a\":01}", malformed},
      {"{\"a\":+1}", malformed},
      {"{\"a\":.5}", malformed},
      {"{\"a\":5.}", malformed},
      {"{\"a\":1e}", malformed},
      {"{\"a\":1e999}", malformed},
      {"{\"a\":NaN}", malformed},
      {"{\"a\":Infinity}", malformed},
      {"{\"a\":-Infinity}", malformed},
      {"{\"a\":nan}", malformed},
      {"{\"a\":0x1}", malformed},
      {"{\"a\":18446744073709551616}", malformed},
      {"{\"a\":tru}", malformed},
      {"{\"a\":True}", malformed},
      {"{\"a\":[1,]}", malformed},
      {"{\"a\":[1}", malformed},
      {"{\"a\":\"\n\"}", malformed},
      {"{\"a\":\"\0\"}"s, malformed},
      {"{\"a\":\"\\x\"}", malformed},
      {"{\"a\":\"\\u12\"}", malformed},
      {"{\"a\":\"\\ud800\"}", malformed},
      {"{\"a\":\"\\udc00\"}", malformed},
      {"{\"a\":\"\\ud800\\u0041\"}", malformed},
      {"{\"\\udc00\":1}", malformed},
      {"{\"a\":\"\xff\"}", malformed},
      {"{\"a\":\"\xc0\x80\"}", malformed},
      {"{\"a\":\"\xed\xa0\x80\"}", malformed},
      {"{\"a\":\"\xe2\x82\"}", malformed},
      {"{/**/}", malformed},
      {"{\"a\":1}//", malformed},
      {"{\"a\":1,\"a\":1}", duplicate_member},
      {"{\"a\":1,\"b\":2,\"\\u0061\":3}", duplicate_member},
      {"{\"x\":{\"a\":1,\"a\":2}}", duplicate_member},
      {"{\"x\":[{\"a\":1,\"a\":2}]}", duplicate_member},
      {"{\"\":1,\"\":2}", duplicate_member},
  };
  for (const Refusal& refusal : table) {
    auto document = JsonDocument::parse(refusal.text);
    ASSERT_FALSE(document) << refusal.text;
    EXPECT_TRUE(is(document.error(), refusal.code))
        << refusal.text << ": " << json_error_text(document.error().code, document.error().detail);
  }
}

TEST(Json, StopsAtEachLimit) {
  auto code = [](const std::string& text, const JsonLimits& limits) -> JsonError {
    auto document = JsonDocument::parse(text, limits);
    return document ? JsonError{} : static_cast<JsonError>(document.error().code);
  };
  auto nested = [](size_t depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_EQ(code(nested(32), {}), JsonError{});
  EXPECT_EQ(code(nested(33), {}), JsonError::too_deep);
  EXPECT_EQ(code(nested(100'000), {}), JsonError::too_deep);
  EXPECT_EQ(code("{\"a\":{\"b\":1}}", {.depth_max = 2}), JsonError{});
  EXPECT_EQ(code("{\"a\":{\"b\":{}}}", {.depth_max = 2}), JsonError::too_deep);
  EXPECT_EQ(code("{\"a\":1}", {.bytes_max = 7}), JsonError{});
  EXPECT_EQ(code("{\"a\":1} ", {.bytes_max = 7}), JsonError::too_large);
  EXPECT_EQ(code("{\"a\":[1,2]}", {.values_max = 4}), JsonError{});
  EXPECT_EQ(code("{\"a\":[1,2,3]}", {.values_max = 4}), JsonError::too_large);
  EXPECT_EQ(code("{\"a\":1,\"b\":2}", {.members_max = 2}), JsonError{});
  EXPECT_EQ(code("{\"a\":1,\"b\":2,\"c\":3}", {.members_max = 2}), JsonError::too_large);
}

TEST(Json, KeepsItsViewsWhenTheDocumentMoves) {
  auto document = JsonDocument::parse(R"({"a":"text"})");
  ASSERT_TRUE(document);
  JsonObject root = document->root();
  std::string_view view = root.required_string("a").value();
  JsonDocument moved = std::move(*document);
  EXPECT_EQ(view, "text");
  EXPECT_EQ(root.required_string("a").value().data(), view.data());
}

TEST(Json, NeverReadsPastTruncatedOrMutatedText) {
  const std::string seed =
      R"({"userId":"0123","deviceId":"d","credentials":"eyJh.bG.ci","badge":true,"nested":{"a":[1,2.5,-3,null,"\u00e9"]},"n":12})";
  for (size_t size = 0; size < seed.size(); ++size) EXPECT_FALSE(JsonDocument::parse(seed.substr(0, size))) << size;
  std::mt19937 random(7);
  size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = seed;
    for (int changes = 0; changes < 2; ++changes) text[random() % text.size()] = static_cast<char>(random());
    auto document = JsonDocument::parse(text);
    refused += !document;
    if (document) {
      EXPECT_LE(document->root().size(), 7u);
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST(JsonWriter, WritesObjectsArraysAndEveryKindOfValue) {
  std::string out = "> ";
  JsonWriter writer(out);
  writer.begin_object().member("a", "x").member("b", std::string("y")).member("c", 5).member("d", uint64_t{UINT64_MAX});
  writer.member("e", true).member("f", -1.5).member("g", std::numeric_limits<double>::quiet_NaN()).name("h").null();
  writer.name("i").begin_array().value(1).begin_object().end_object().begin_array().end_array().value("z").end_array();
  writer.name("j").raw("{\"k\":1}").member("l", INT64_MIN).member("m", uint16_t{7}).end_object();
  EXPECT_TRUE(writer.done());
  EXPECT_EQ(out, R"(> {"a":"x","b":"y","c":5,"d":18446744073709551615,"e":true,"f":-1.5,"g":null,"h":null,)"
                 R"("i":[1,{},[],"z"],"j":{"k":1},"l":-9223372036854775808,"m":7})");
}

TEST(JsonWriter, EscapesWhatMustNotStandInText) {
  std::string out;
  append_json_string(out, "\"\\/\b\f\n\r\t\x01\x1f\x7f\0end"s);
  EXPECT_EQ(out, R"("\"\\/\b\f\n\r\t\u0001\u001f\u007f\u0000end")");
  out.clear();
  append_json_string(out, "\xe2\x80\xa8|\xe2\x80\xa9|\xe2\x80\xaa|\xf0\x9f\x94\x94");
  EXPECT_EQ(out, "\"\\u2028|\\u2029|\xe2\x80\xaa|\xf0\x9f\x94\x94\"");
  out.clear();
  append_json_string(out,
                     "a\xff"
                     "b\xed\xa0\x80");
  EXPECT_TRUE(utf8_valid(out));
  EXPECT_TRUE(
      out.starts_with("\"a\xef\xbf\xbd"
                      "b\xef\xbf\xbd"));
  out.clear();
  append_json_string(out, "");
  EXPECT_EQ(out, "\"\"");
}

TEST(JsonWriter, IsReadBackByTheReader) {
  std::mt19937 random(11);
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (size_t size = random() % 40; size > 0; --size) text.push_back(static_cast<char>(random()));
    std::string out;
    JsonWriter(out).begin_object().member(utf8_repaired(text), text).end_object();
    auto document = JsonDocument::parse(out);
    ASSERT_TRUE(document) << out;
    EXPECT_EQ(document->root().at(0).value.string().value(), utf8_repaired(text));
    EXPECT_EQ(document->root().at(0).name, utf8_repaired(text));
    for (char c : out) EXPECT_GE(static_cast<uint8_t>(c), 0x20);
  }
}

using JsonWriterDeathTest = testing::Test;

TEST(JsonWriterDeathTest, StopsAProgramThatMisusesIt) {
  std::string out;
  EXPECT_DEATH(JsonWriter(out).begin_object().value(1), "check failed");
  EXPECT_DEATH(JsonWriter(out).begin_array().name("a"), "check failed");
  EXPECT_DEATH(JsonWriter(out).begin_array().end_object(), "check failed");
  EXPECT_DEATH(JsonWriter(out).begin_object().name("a").end_object(), "check failed");
  EXPECT_DEATH(JsonWriter(out).value(1).value(2), "check failed");
  EXPECT_DEATH(
      {
        JsonWriter writer(out);
        for (uint32_t i = 0; i <= JsonWriter::kDepthMax; ++i) writer.begin_array();
      },
      "check failed");
}

TEST(Problem, HasAConstantBodyPerCodeAndStatus) {
  EXPECT_EQ(
      problem_body(ProblemCode::malformed, 422),
      R"({"type":"urn:bellhop:problem:malformed","title":"The request is malformed.","status":422,"code":"malformed"})");
  for (ProblemCode code : {ProblemCode::malformed, ProblemCode::unauthorized, ProblemCode::forbidden,
                           ProblemCode::credentials, ProblemCode::exchange, ProblemCode::throttled,
                           ProblemCode::blocked, ProblemCode::unavailable, ProblemCode::unknown, ProblemCode::limit,
                           ProblemCode::overload, ProblemCode::draining, ProblemCode::not_ready}) {
    auto document = JsonDocument::parse(problem_body(code, 400));
    ASSERT_TRUE(document);
    EXPECT_EQ(document->root().required_string("code").value(), problem_code_name(code));
    EXPECT_EQ(document->root().required_string("title").value(), problem_title(code));
    EXPECT_EQ(document->root().required_integer("status").value(), 400);
  }
}

TEST(Problem, NamesTheReasonOfAParsersStatus) {
  EXPECT_EQ(problem_code_for_status(413), ProblemCode::limit);
  EXPECT_EQ(problem_code_for_status(431), ProblemCode::limit);
  EXPECT_EQ(problem_code_for_status(404), ProblemCode::unknown);
  EXPECT_EQ(problem_code_for_status(400), ProblemCode::malformed);
}

}  // namespace
}  // namespace bellhop::proto
