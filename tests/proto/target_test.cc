// SPDX-License-Identifier: Apache-2.0
#include "proto/target.h"

#include <gtest/gtest.h>

#include "proto/http_error.h"

namespace bellhop::proto {
namespace {

TEST(Target, SplitsAtTheFirstQuestionMark) {
  EXPECT_EQ(split_target("/a").path, "/a");
  EXPECT_FALSE(split_target("/a").query);
  EXPECT_EQ(split_target("/a?").query, "");
  EXPECT_EQ(split_target("/a?b?c").path, "/a");
  EXPECT_EQ(split_target("/a?b?c").query, "b?c");
}

TEST(Query, FindsTheOnlyParameterOfAName) {
  auto find = [](std::string_view query, std::string_view name) { return query_parameter(query, name).value(); };
  EXPECT_EQ(find("id=a&creds=b", "id"), "a");
  EXPECT_EQ(find("id=a&creds=b", "creds"), "b");
  EXPECT_EQ(find("id=a=b", "id"), "a=b");
  EXPECT_EQ(find("id=%41", "id"), "%41");
  EXPECT_EQ(find("id", "id"), "");
  EXPECT_EQ(find("&&id=a&", "id"), "a");
  EXPECT_FALSE(find("id=a", "i"));
  EXPECT_FALSE(find("xid=a", "id"));
  EXPECT_FALSE(find("ID=a", "id"));
  EXPECT_FALSE(find("", "id"));
}

TEST(Query, RefusesRepeatedAndEscapedNames) {
  for (std::string_view query :
       {"id=a&id=b", "id=a&id=a", "id=a&id", "id&id", "%69d=a", "id=a&%69d=b", "x%=1&id=a", "i+d=a"}) {
    auto found = query_parameter(query, "id");
    ASSERT_FALSE(found) << query;
    EXPECT_TRUE(is(found.error(), HttpError::bad_query));
  }
}

TEST(PercentDecode, ReplacesEscapesAndKeepsPlus) {
  EXPECT_EQ(percent_decode("a%20b%2Fc+%c3%A9").value(), "a b/c+\xc3\xa9");
  EXPECT_EQ(percent_decode("%2541").value(), "%41");
  EXPECT_EQ(percent_decode("%00").value(), std::string(1, '\0'));
  for (std::string_view bad : {"%", "a%4", "%g0", "%0g", "%%41", "% 41"}) EXPECT_FALSE(percent_decode(bad)) << bad;
}

TEST(PercentDecode, StaysInsideTheCallersMemory) {
  uint8_t room[2] = {};
  EXPECT_EQ(percent_decode("%41b", room), 2u);
  EXPECT_EQ(room[0], 'A');
  EXPECT_FALSE(percent_decode("abc", room));
  EXPECT_EQ(percent_decode("", MutableBytes()), 0u);
}

}  // namespace
}  // namespace bellhop::proto
