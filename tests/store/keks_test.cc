// SPDX-License-Identifier: Apache-2.0
#include "store/keks.h"

#include <gtest/gtest.h>

#include "store/seed.h"
#include "tests/store/support.h"

namespace bellhop::store {
namespace {

// Here the first byte of a box names its key, and 0 is no name.
constexpr auto first_byte = [](Bytes box) { return box[0] == 0 ? std::nullopt : std::optional<uint32_t>(box[0]); };

std::vector<uint8_t> box_of(uint8_t kek) {
  return {kek, 1, 2, 3};
}

Task<void> put_sealed_meta(TableStore& store, unsigned) {
  EXPECT_TRUE(co_await store.put_meta("index_key", box_of(9)));
}

TEST(KekUse, CountsSealedFieldsAndUrlsOfEachKey) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  run(*store, &put_sealed_meta);
  ASSERT_TRUE(seed(store->engine(), 3, "example", at_ms(1), [](uint64_t index, SeededMailbox& mailbox) {
    mailbox = a_mailbox(index);
    mailbox.key.sealed_private_key = box_of(index == 0 ? 7 : 8);
    mailbox.device_record.sealed_secret_hash = box_of(8);
    mailbox.device_record.sealed_push_token = index == 2 ? std::vector<uint8_t>() : box_of(8);
    if (index != 1) return;
    mailbox.subscription.envelope = EnvelopeKind::split;
    mailbox.subscription.split_ciphertext = box_of(8);
    mailbox.subscription.kek = 6;
  }));
  Result<KekReport> report = kek_use(store->engine(), first_byte);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->nameless, 0u);
  ASSERT_EQ(report->keks.size(), 4u);
  EXPECT_EQ(report->keks[7].records, 1u);
  EXPECT_EQ(report->keks[8].records, 2u + 3u + 2u + 1u);
  EXPECT_EQ(report->keks[9].records, 1u);
  EXPECT_EQ(report->keks[6].records, 0u);
  EXPECT_EQ(report->keks[6].urls, 1u);
  EXPECT_EQ(report->keks[8].urls, 0u);
}

TEST(KekUse, CountsWhatNamesNoKey) {
  TestFolder folder;
  auto store = open_or_die(folder.file());
  ASSERT_TRUE(seed(store->engine(), 1, "example", at_ms(1), [](uint64_t index, SeededMailbox& mailbox) {
    mailbox = a_mailbox(index);
    mailbox.key.sealed_private_key = box_of(0);
    mailbox.device_record.sealed_secret_hash = mailbox.device_record.sealed_push_token = box_of(1);
  }));
  Result<KekReport> report = kek_use(store->engine(), first_byte);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->nameless, 1u);
  EXPECT_EQ(report->keks[1].records, 2u);
}

}  // namespace
}  // namespace bellhop::store
