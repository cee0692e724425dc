// SPDX-License-Identifier: Apache-2.0
#include "service/uem_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bellhop::service {
namespace {

using testing::HasSubstr;

TEST(UemPage, TheLastLineSaysHowToGoOn) {
  auto page = read_uem_page("{\"deviceId\":\"a\"}\n{\"deviceId\":\"b\"}\n{\"next\":\"b.1\"}\n");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->devices, "{\"deviceId\":\"a\"}\n{\"deviceId\":\"b\"}\n");
  EXPECT_EQ(page->next, "b.1");
  EXPECT_EQ(page->since, "");
  page = read_uem_page("{\"since\":\"A-z_0~.\"}");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->devices, "");
  EXPECT_EQ(page->since, "A-z_0~.");
  page = read_uem_page("{\"deviceId\":\"a\"}\r\n{\"since\":\"x\",\"later\":true}\r\n\r\n");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->devices, "{\"deviceId\":\"a\"}\r\n");
}

TEST(UemPage, EveryPageThatWasCutIsRefused) {
  std::string whole = "{\"deviceId\":\"a\"}\n{\"deviceId\":\"b\"}\n{\"next\":\"b.1\"}";
  for (size_t size = 0; size < whole.size(); ++size) {
    auto page = read_uem_page(std::string_view(whole).substr(0, size));
    EXPECT_FALSE(page) << size;
  }
  EXPECT_TRUE(read_uem_page(whole));
}

TEST(UemPage, WhatIsNoPageIsRefusedWithoutQuotingIt) {
  for (std::string_view body : {"", "\n", "<html>secret</html>", "{}", "[]", "{\"next\":\"a\",\"since\":\"b\"}", "{\"next\":7}",
                                "{\"next\":\"\"}", "{\"since\":\"secret&x\"}", "{\"since\":\"a b\"}", "{\"next\":null}",
                                "{\"since\":\"x\"}{\"since\":\"x\"}", "{\"since\":\"x\",\"since\":\"y\"}"}) {
    auto page = read_uem_page(body);
    ASSERT_FALSE(page) << body;
    EXPECT_THAT(std::string(page.error()), testing::Not(HasSubstr("secret")));
  }
  std::string token(kUemTokenBytesMax, 'a');
  EXPECT_TRUE(read_uem_page("{\"since\":\"" + token + "\"}"));
  EXPECT_FALSE(read_uem_page("{\"since\":\"" + token + "a\"}"));
}

}  // namespace
}  // namespace bellhop::service
