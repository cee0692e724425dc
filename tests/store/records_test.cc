// SPDX-License-Identifier: Apache-2.0
#include "store/records.h"

#include <gtest/gtest.h>

#include "store/codec.h"
#include "tests/store/support.h"

namespace bellhop::store {
namespace {

TokenRecord a_record(TokenRecord*) {
  return {.id = id_of<TokenId>(1),
          .tenant = "example",
          .scope = TokenScope::admin,
          .state = TokenState::revoked,
          .created = at_ms(1),
          .revoked = at_ms(2)};
}
UserRecord a_record(UserRecord*) {
  return {.tenant = "example",
          .mailbox = 7,
          .key = id_of<KeyId>(2),
          .created = at_ms(3),
          .last_used = at_ms(4),
          .devices = 5,
          .subscriptions = {id_of<CapabilityHash>(1), id_of<CapabilityHash>(2)},
          .old_key = id_of<KeyId>(3),
          .rekey_wished = at_ms(5)};
}
KeyRecord a_record(KeyRecord*) {
  return a_key(3);
}
DeviceRecord a_record(DeviceRecord*) {
  DeviceRecord record = a_device(4);
  record.state = DeviceState::blocked;
  record.preview = Preview::sender;
  record.token_gone = true;
  record.created = at_ms(-1);
  return record;
}
SubscriptionRecord a_record(SubscriptionRecord*) {
  SubscriptionRecord record = a_subscription(5, id_of<DeviceKey>(5));
  record.split_ciphertext = blob(900, 5);
  record.logon = {2, at_ms(77)};
  record.kek = 8;
  record.grant_begun = at_ms(78);
  return record;
}
HotRecord a_record(HotRecord*) {
  HotRecord record{.owner = 9, .watermark_hash = 10};
  for (uint64_t i = 0; i < 70; ++i) record.add(i);
  return record;
}
TombstoneRecord a_record(TombstoneRecord*) {
  return {.reason = TombstoneReason::handed_over,
          .status_frequency_minutes = 60,
          .expires = at_ms(9),
          .digest = id_of<Digest>(6)};
}
ComplianceRecord a_record(ComplianceRecord*) {
  return {.account = 77,
          .first_name = id_of<ComplianceKey>(3),
          .managed = Known::yes,
          .compromised = Known::no,
          .override_to = ComplianceOverride::block,
          .model = "Phone 9",
          .os = "iOS",
          .os_version = "17.2.1",
          .device_type = "iPhone",
          .mail_client = "Boxer",
          .last_contact = at_ms(4),
          .updated = at_ms(5)};
}
ComplianceSet a_record(ComplianceSet*) {
  return {.number = 9, .replaced = at_ms(7)};
}
HoldRecord a_record(HoldRecord*) {
  return {.hold = ComplianceHold::wiped, .since = at_ms(8)};
}
EwsUrlRecord a_record(EwsUrlRecord*) {
  return {"https://mail.example.com/EWS/Exchange.asmx", at_ms(6)};
}
JournalRecord a_record(JournalRecord*) {
  return {.user = id_of<StoredUserId>(8),
          .collapse = {1, 2, 3},
          .first_seen = at_ms(1),
          .next_attempt = at_ms(2),
          .attempts = 3};
}

template <class R>
class Record : public testing::Test {};
using All = testing::Types<TokenRecord, UserRecord, KeyRecord, DeviceRecord, SubscriptionRecord, HotRecord,
                           TombstoneRecord, ComplianceRecord, ComplianceSet, HoldRecord, EwsUrlRecord, JournalRecord>;
TYPED_TEST_SUITE(Record, All);

TYPED_TEST(Record, ComesBackAsItWasWritten) {
  TypeParam record = a_record(static_cast<TypeParam*>(nullptr)), read;
  std::vector<uint8_t> bytes;
  ASSERT_TRUE(encode(record, bytes));
  ASSERT_TRUE(decode(bytes, read));
  EXPECT_EQ(record, read);
}

TYPED_TEST(Record, IsRefusedWhereItIsCutAnywhere) {
  std::vector<uint8_t> bytes;
  ASSERT_TRUE(encode(a_record(static_cast<TypeParam*>(nullptr)), bytes));
  TypeParam read;
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(Bytes(bytes).first(size), read)) << size;
  bytes.push_back(0);
  EXPECT_FALSE(decode(bytes, read));
}

TYPED_TEST(Record, IsRefusedWhereAnyBitDiffers) {
  std::vector<uint8_t> bytes;
  ASSERT_TRUE(encode(a_record(static_cast<TypeParam*>(nullptr)), bytes));
  TypeParam read;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    EXPECT_FALSE(decode(bytes, read)) << bit;
    bytes[bit / 8] ^= uint8_t(1 << bit % 8);
  }
}

TEST(Records, WithARightChecksumStillHaveEveryFieldChecked) {
  // The checksum is no secret: random bodies that carry a right one reach the field decoder.
  uint64_t x = 1;
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint8_t> bytes;
    ASSERT_TRUE(encode(a_record(static_cast<UserRecord*>(nullptr)), bytes));
    bytes.resize(bytes.size() - 4);
    for (int i = 0; i < 3; ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      bytes[1 + (x >> 33) % (bytes.size() - 1)] = uint8_t(x >> 20);
    }
    if (round % 3 == 0) bytes.resize(1 + (x >> 40) % bytes.size());
    uint32_t sum = checksum(bytes);
    for (int i = 0; i < 4; ++i) bytes.push_back(uint8_t(sum >> (8 * i)));
    UserRecord user;
    SubscriptionRecord subscription;
    DeviceRecord device;
    accepted += decode(bytes, user);
    EXPECT_FALSE(decode(bytes, subscription));
    EXPECT_FALSE(decode(bytes, device));
    if (user.subscriptions.size() > kSubscriptionsPerUserMax) ADD_FAILURE();
  }
  EXPECT_GT(accepted, 0u);
}

TEST(Records, WithAFieldBeyondItsBoundAreNotWritten) {
  std::vector<uint8_t> bytes;
  DeviceRecord device = a_device(1);
  device.topic = std::string(kTopicSizeMax, 't');
  EXPECT_TRUE(encode(device, bytes));
  device.topic += 't';
  EXPECT_TRUE(failed_with(encode(device, bytes), StoreError::limit));
  UserRecord user;
  user.subscriptions.resize(kSubscriptionsPerUserMax + 1);
  EXPECT_TRUE(failed_with(encode(user, bytes), StoreError::limit));
  SubscriptionRecord subscription = a_subscription(1, {});
  subscription.split_ciphertext.resize(kSplitSizeMax);
  EXPECT_TRUE(encode(subscription, bytes));
  subscription.split_ciphertext.push_back(0);
  EXPECT_TRUE(failed_with(encode(subscription, bytes), StoreError::limit));
}

// `body` without its checksum, as another version of the program might have written it.
std::vector<uint8_t> with_checksum(std::vector<uint8_t> body) {
  uint32_t sum = checksum(body);
  for (int i = 0; i < 4; ++i) body.push_back(uint8_t(sum >> (8 * i)));
  return body;
}

// `record` as an earlier version wrote it, without the last `bytes` of its fields.
template <class R>
std::vector<uint8_t> earlier(const R& record, uint8_t version, size_t bytes_fewer) {
  std::vector<uint8_t> bytes;
  EXPECT_TRUE(encode(record, bytes));
  bytes.resize(bytes.size() - 4 - bytes_fewer);
  bytes[0] = version;
  return with_checksum(bytes);
}

TEST(Records, OfSubscriptionsAreReadInTheirEarlierVersionsToo) {
  SubscriptionRecord record = a_record(static_cast<SubscriptionRecord*>(nullptr));
  record.takes_over = record.rekey_wished = record.source_left = true;
  SubscriptionRecord read = record;
  ASSERT_TRUE(decode(earlier(record, 2, 3), read));
  SubscriptionRecord wanted = record;
  wanted.takes_over = wanted.rekey_wished = wanted.source_left = false;
  EXPECT_EQ(read, wanted);
  ASSERT_TRUE(decode(earlier(record, 1, 15), read));
  wanted.kek = 0;
  wanted.grant_begun = {};
  EXPECT_EQ(read, wanted);
  EXPECT_FALSE(decode(earlier(record, 2, 15), read));
  for (uint8_t version : {0, 1, 2, 4, 255}) EXPECT_FALSE(decode(earlier(record, version, 0), read)) << int(version);
  EXPECT_TRUE(decode(earlier(record, 3, 0), read));
  EXPECT_EQ(read, record);
}

TEST(Records, OfUsersAreReadInTheirFirstVersionToo) {
  UserRecord record = a_record(static_cast<UserRecord*>(nullptr)), read = record;
  ASSERT_TRUE(decode(earlier(record, 1, KeyId::kBytes + 8), read));
  UserRecord wanted = record;
  wanted.old_key = {};
  wanted.rekey_wished = {};
  EXPECT_EQ(read, wanted);
  EXPECT_FALSE(decode(earlier(record, 1, 0), read));
  EXPECT_FALSE(decode(earlier(record, 2, 8), read));
}

TEST(Records, OfDevicesAreReadInTheirFirstVersionToo) {
  DeviceRecord record = a_record(static_cast<DeviceRecord*>(nullptr)), read = record;
  record.name = read.name = id_of<ComplianceKey>(4);
  ASSERT_TRUE(decode(earlier(record, 1, ComplianceKey::kBytes), read));
  DeviceRecord wanted = record;
  wanted.name = {};
  EXPECT_EQ(read, wanted);
  EXPECT_FALSE(decode(earlier(record, 1, 0), read));
}

TEST(Records, OfUnknownVersionAreRefused) {
  std::vector<uint8_t> bytes;
  ASSERT_TRUE(encode(EwsUrlRecord{"https://mail.example.com/", {}}, bytes));
  bytes.resize(bytes.size() - 4);
  bytes[0] = 2;
  uint32_t sum = checksum(bytes);
  for (int i = 0; i < 4; ++i) bytes.push_back(uint8_t(sum >> (8 * i)));
  EwsUrlRecord read;
  EXPECT_FALSE(decode(bytes, read));
}

TEST(Records, AreReadAgainWithoutNewMemory) {
  std::vector<uint8_t> bytes;
  ASSERT_TRUE(encode(a_record(static_cast<SubscriptionRecord*>(nullptr)), bytes));
  SubscriptionRecord read;
  ASSERT_TRUE(decode(bytes, read));
  const void* url = read.ews_url.data();
  const void* split = read.split_ciphertext.data();
  ASSERT_TRUE(decode(bytes, read));
  EXPECT_EQ(url, read.ews_url.data());
  EXPECT_EQ(split, read.split_ciphertext.data());
}

TEST(Subscription, KnowsTheOriginOfItsUrl) {
  SubscriptionRecord record;
  EXPECT_EQ(record.ews_origin(), "");
  record.ews_url = "https://mail.example.com/EWS/Exchange.asmx";
  EXPECT_EQ(record.ews_origin(), "https://mail.example.com");
  record.ews_url = "https://mail.example.com:8443?x=/y";
  EXPECT_EQ(record.ews_origin(), "https://mail.example.com:8443");
}

TEST(HotRing, KeepsTheLast64Items) {
  HotRecord hot;
  EXPECT_FALSE(hot.seen(0));
  for (uint64_t item = 0; item < 65; ++item) hot.add(item * 2);
  EXPECT_FALSE(hot.seen(0));
  for (uint64_t item = 1; item < 65; ++item) EXPECT_TRUE(hot.seen(item * 2));
  hot.add(0);
  EXPECT_TRUE(hot.seen(0));
}

TEST(LastSeen, IsDueAfterAQuarterOfTheStatusFrequency) {
  WallTime stored = at_ms(1'000'000);
  EXPECT_FALSE(last_seen_due(stored, stored, 30));
  EXPECT_FALSE(last_seen_due(stored, stored + 449'999ms, 30));
  EXPECT_TRUE(last_seen_due(stored, stored + 450'000ms, 30));
  EXPECT_TRUE(last_seen_due(stored, stored - 1ms, 30)) << "the clock was set back";
}

TEST(StoreErrors, HaveTexts) {
  register_error_texts();
  EXPECT_EQ(error_text(store_error(StoreError::corrupt, uint32_t(Table::users))).substr(0, 7), "store: ");
  EXPECT_NE(error_text(store_error(StoreError::corrupt, uint32_t(Table::users))).find("table users"),
            std::string::npos);
  for (uint16_t code = 1; code <= uint16_t(StoreError::input_output); ++code) {
    EXPECT_EQ(error_text(store_error(StoreError(code))).find("code "), std::string::npos) << code;
  }
}

}  // namespace
}  // namespace bellhop::store
