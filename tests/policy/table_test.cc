// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace bellhop::service {
namespace {

store::ComplianceKey key_of(uint64_t number) {
  store::ComplianceKey key;
  store_be64(key.bytes.data(), number * 0x9e3779b97f4a7c15u);
  store_be64(key.bytes.data() + 8, number);
  return key;
}

ComplianceRecord phone(std::string model = "Phone 9") {
  return {.account = 5,
          .managed = Known::yes,
          .compromised = Known::no,
          .encrypted = Known::yes,
          .activesync_profile = Known::no,
          .override_to = ComplianceOverride::block,
          .model = std::move(model),
          .os = "iOS",
          .os_version = "17.2",
          .device_type = "iPhone",
          .mail_client = "Boxer",
          .last_contact = WallTime(std::chrono::seconds(1'700'000'000)),
          .updated = WallTime(std::chrono::seconds(1'700'000'001))};
}

TEST(ComplianceTable, GivesBackWhatWasPut) {
  TextPool texts;
  ComplianceTable table(texts);
  table.put(key_of(1), phone(), ComplianceHold::wiped, nullptr);
  ComplianceRecord read;
  ASSERT_TRUE(table.read(key_of(1), read));
  EXPECT_EQ(read, phone());
  DeviceFacts facts;
  ASSERT_TRUE(table.find(key_of(1), facts));
  EXPECT_EQ(facts.hold, ComplianceHold::wiped);
  EXPECT_EQ(facts.key, key_of(1));
  EXPECT_EQ(facts.mail_client, "Boxer");
  EXPECT_EQ(facts.override_to, ComplianceOverride::block);
  EXPECT_FALSE(table.find(key_of(2), facts));
}

TEST(ComplianceTable, FollowsAnotherNameToTheFirst) {
  TextPool texts;
  ComplianceTable table(texts);
  ComplianceRecord leads;
  leads.first_name = key_of(1);
  table.put(key_of(2), leads, ComplianceHold::none, nullptr);
  DeviceFacts facts;
  EXPECT_FALSE(table.find(key_of(2), facts)) << "the first name is not there yet";
  table.put(key_of(1), phone(), ComplianceHold::none, nullptr);
  ASSERT_TRUE(table.find(key_of(2), facts));
  EXPECT_EQ(facts.key, key_of(1));
  EXPECT_EQ(facts.model, "Phone 9");
  ComplianceRecord loop;
  loop.first_name = key_of(2);
  table.put(key_of(1), loop, ComplianceHold::none, nullptr);
  EXPECT_FALSE(table.find(key_of(2), facts)) << "names in a circle lead nowhere";
}

TEST(ComplianceTable, GrowsErasesAndTrims) {
  TextPool texts;
  ComplianceTable table(texts);
  constexpr uint64_t kDevices = 20'000;
  for (uint64_t i = 0; i < kDevices; ++i) table.put(key_of(i), phone(fmt::format("m{}", i % 7)), ComplianceHold::none, nullptr);
  EXPECT_EQ(table.size(), kDevices);
  for (uint64_t i = 0; i < kDevices; i += 2) table.erase(key_of(i));
  table.erase(key_of(0));
  EXPECT_EQ(table.size(), kDevices / 2);
  size_t before = table.bytes();
  ComplianceTable::Retired retired;
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) table.trim(segment, &retired);
  EXPECT_LT(table.bytes(), before);
  EXPECT_LE(table.bytes(), kDevices / 2 * 56 + ComplianceTable::kSegments * 96);
  DeviceFacts facts;
  size_t listed = 0;
  for (size_t segment = 0; segment < ComplianceTable::kSegments; ++segment) {
    table.for_each(segment, [&](const store::ComplianceKey&, const ComplianceRecord& record) {
      ++listed;
      EXPECT_EQ(record.os, "iOS");
    });
  }
  EXPECT_EQ(listed, kDevices / 2);
  for (uint64_t i = 0; i < kDevices; ++i) EXPECT_EQ(table.find(key_of(i), facts), i % 2 == 1) << i;
  table.put(key_of(0), phone(), ComplianceHold::none, nullptr);
  EXPECT_TRUE(table.find(key_of(0), facts));
}

TEST(ComplianceTable, TextsBeyondTheirNumberAreNotKnown) {
  TextPool texts;
  for (uint32_t i = 1; i < TextPool::kTextsMax; ++i) ASSERT_NE(texts.add(fmt::format("t{}", i)), 0u);
  EXPECT_EQ(texts.add("one more"), 0u);
  EXPECT_EQ(texts.refused(), 1u);
  EXPECT_EQ(texts.text(texts.add("t5")), "t5");
  EXPECT_EQ(texts.text(0), "");
}

// Each record that is put has one number in all of its fields: a reader that saw halves of two would find others.
TEST(ComplianceTable, IsReadWholeWhileItIsWritten) {
  TextPool texts;
  ComplianceTable table(texts);
  constexpr uint64_t kKeys = 64;
  ComplianceTable::Retired retired;
  auto write = [&](uint64_t key, uint64_t value) {
    ComplianceRecord record;
    record.account = value + 1;
    record.model = record.os_version = record.mail_client = fmt::format("{}", value % 97);
    record.updated = WallTime(std::chrono::seconds(value));
    table.put(key_of(key), record, ComplianceHold::none, &retired);
  };
  for (uint64_t key = 0; key < kKeys; ++key) write(key, key);
  std::atomic<bool> end{false};
  std::atomic<uint64_t> reads{0}, torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      DeviceFacts facts;
      for (uint64_t n = 0; !end; ++n) {
        if (!table.find(key_of(n % kKeys), facts)) ++torn;
        uint64_t value = facts.account - 1;
        std::string text = fmt::format("{}", value % 97);
        bool whole = facts.model == text && facts.os_version == text && facts.mail_client == text &&
                     facts.updated == WallTime(std::chrono::seconds(value));
        torn += !whole;
        ++reads;
      }
    });
  }
  uint64_t value = kKeys;
  while (reads < 50'000) {
    write(value % kKeys, value);
    write(1'000 + value, value);  // and the segments grow
    ++value;
  }
  end = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_GT(retired.size(), 0u);
}

}  // namespace
}  // namespace bellhop::service
