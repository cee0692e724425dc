// SPDX-License-Identifier: Apache-2.0
// What the UEM stand-in knows, without its listener. The source of kind uem meets it whole: tests/service/uem_source_test.cc.
#include "tools/standin/uem_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bellhop::standin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> lines_of(const std::optional<std::string>& page) {
  std::vector<std::string> lines;
  for (std::string_view rest = page ? std::string_view(*page) : std::string_view(); !rest.empty();) {
    size_t end = rest.find('\n');
    lines.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return lines;
}

// The token in the last line, and which kind it is of.
std::string token_of(const std::optional<std::string>& page, std::string_view name) {
  std::vector<std::string> lines = lines_of(page);
  std::string begin = "{\"" + std::string(name) + "\":\"";
  if (lines.empty() || !lines.back().starts_with(begin)) return "";
  return lines.back().substr(begin.size(), lines.back().size() - begin.size() - 2);
}

TEST(UemDevices, PagesLeadFromTheFirstDeviceToTheLast) {
  UemDevices devices(5, 2, "example.com", 1);
  auto page = devices.page("", 2);
  EXPECT_THAT(lines_of(page), ElementsAre(devices.made_up_line(1), devices.made_up_line(2), HasSubstr("next")));
  page = devices.page(token_of(page, "next"), 2);
  EXPECT_THAT(lines_of(page), ElementsAre(devices.made_up_line(3), devices.made_up_line(4), HasSubstr("next")));
  page = devices.page(token_of(page, "next"), 2);
  EXPECT_THAT(lines_of(page), ElementsAre(devices.made_up_line(5), HasSubstr("since")));
  EXPECT_THAT(lines_of(devices.page(token_of(page, "since"), 2)), ElementsAre(HasSubstr("since"))) << "nothing has changed";
  EXPECT_EQ(devices.books.bulks, 1u);
  EXPECT_EQ(devices.books.lines, 5u);
}

TEST(UemDevices, WhatChangesWhileAListIsReadComesWithTheChanges) {
  UemDevices devices(3, 1, "example.com", 1);
  auto first = devices.page("", 2);
  devices.put(UemDevices::made_up_id(1), "{\"deviceId\":\"UEM0000001\",\"managed\":false}");
  auto last = devices.page(token_of(first, "next"), 2);
  EXPECT_THAT(lines_of(devices.page(token_of(last, "since"), 9)),
              ElementsAre("{\"deviceId\":\"UEM0000001\",\"managed\":false}", HasSubstr("since")));
}

TEST(UemDevices, ChangesComeOnceInPagesAndRemovedDevicesAreNamed) {
  UemDevices devices(2, 1, "example.com", 1);
  std::string since = token_of(devices.page("", 9), "since");
  for (int i = 0; i < 3; ++i) devices.put("a", "{\"deviceId\":\"a\"}");
  EXPECT_EQ(devices.size(), 3u);
  EXPECT_TRUE(devices.remove(UemDevices::made_up_id(2)));
  EXPECT_FALSE(devices.remove(UemDevices::made_up_id(2)));
  EXPECT_FALSE(devices.remove("UEM0000003")) << "beyond those that there are";
  EXPECT_EQ(devices.size(), 2u);
  EXPECT_THAT(lines_of(devices.page(since, 9)),
              ElementsAre("{\"deviceId\":\"UEM0000002\",\"removed\":true}", "{\"deviceId\":\"a\"}", HasSubstr("since")));
  auto page = devices.page(since, 2);
  EXPECT_THAT(lines_of(page), ElementsAre("{\"deviceId\":\"a\"}", HasSubstr("next")));
  EXPECT_THAT(lines_of(devices.page(token_of(page, "next"), 2)),
              ElementsAre("{\"deviceId\":\"UEM0000002\",\"removed\":true}", "{\"deviceId\":\"a\"}", HasSubstr("since")));
  EXPECT_THAT(lines_of(devices.page("", 9)), ElementsAre(devices.made_up_line(1), "{\"deviceId\":\"a\"}", HasSubstr("since")));
  devices.put(UemDevices::made_up_id(2), "{\"deviceId\":\"UEM0000002\"}");
  EXPECT_EQ(devices.size(), 3u) << "back again";
}

TEST(UemDevices, ATokenOfBeforeIsForgotten) {
  UemDevices devices(2, 1, "example.com", 1);
  std::string since = token_of(devices.page("", 9), "since");
  devices.forget();
  EXPECT_FALSE(devices.page(since, 9));
  for (std::string_view wrong : {"?", "b", "b.2.0", "x.2.0.0", "b.2.9.0", "d.zz.0.0", "b.2.0.x"}) EXPECT_FALSE(devices.page(wrong, 9)) << wrong;
  EXPECT_EQ(devices.books.gone, 8u);
}

}  // namespace
}  // namespace bellhop::standin
