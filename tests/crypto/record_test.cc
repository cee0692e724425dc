// SPDX-License-Identifier: Apache-2.0
#include "crypto/record.h"

#include <gtest/gtest.h>

#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

constexpr std::string_view kAddress = "Anna.Example@Example.com";
constexpr WallTime kNow = WallTime(std::chrono::seconds(1'800'000'000));

CredentialRecord record_of(std::string_view address, std::string_view username, std::string_view password) {
  return {Secret::copy_of(address), BasicCredentials{Secret::copy_of(username), Secret::copy_of(password)}};
}
const BasicCredentials& basic(const Result<CredentialRecord>& record) {
  return std::get<BasicCredentials>(record->logon);
}

RecordExpectation expected() {
  return {user_id_of_address("anna.example@example.com"), "device-1", kNow};
}

// The sample record with one member's JSON text replaced ("" removes it) or appended.
Secret json_with(std::string_view name, std::string_view value) {
  std::vector<std::pair<std::string, std::string>> members = {
      {"address", "\"Anna.Example@Example.com\""},
      {"userId", "\"" + to_hex(user_id_of_address(kAddress)) + "\""},
      {"deviceId", "\"device-1\""},
      {"iat", "1800000000"},
      {"type", "\"basic\""},
      {"username", "\"EXAMPLE\\\\anna\""},
      {"password", "\"p\\u00e4ss:w\\\"ord\""}};
  bool known = false;
  for (auto& member : members) {
    if (member.first != name) continue;
    member.second = value;
    known = true;
  }
  if (!known && !name.empty()) members.emplace_back(name, value);
  std::string text;
  for (const auto& [key, json] : members) {
    if (!json.empty()) text += (text.empty() ? "{\"" : ",\"") + key + "\":" + json;
  }
  return Secret::copy_of(text + "}");
}
Result<CredentialRecord> read_with(std::string_view name, std::string_view value) {
  return read_credential_record(json_with(name, value), expected());
}

TEST(CredentialRecord, ReadsTheDevicesJson) {
  const auto record = read_with("", "");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->address.reveal_text(), kAddress);
  EXPECT_EQ(basic(record).username.reveal_text(), "EXAMPLE\\anna");
  EXPECT_EQ(basic(record).password.reveal_text(), "p\xc3\xa4ss:w\"ord");
  EXPECT_TRUE(read_with("future", "\"ignored\""));
}

TEST(CredentialRecord, ReadsWhatItWrites) {
  const CredentialRecord record = record_of(kAddress, "anna", "a\\b\"c\x7e");
  const auto again = read_credential_record(write_credential_record(record, "device-1", kNow), expected());
  ASSERT_TRUE(again);
  EXPECT_EQ(basic(again).password.reveal_text(), "a\\b\"c\x7e");
}

TEST(CredentialRecord, OfAnotherUserIsRefused) {
  EXPECT_TRUE(failed_with(read_with("address", "\"ben@example.com\""), CryptoError::record_wrong_user));
  const std::string other = "\"" + to_hex(user_id_of_address("ben@example.com")) + "\"";
  EXPECT_TRUE(failed_with(read_with("userId", other), CryptoError::record_wrong_user));
  EXPECT_TRUE(failed_with(read_with("userId", "\"\""), CryptoError::record_wrong_user));
  RecordExpectation wrong = expected();
  wrong.user_id[31] ^= 1;
  EXPECT_TRUE(failed_with(read_credential_record(json_with("", ""), wrong), CryptoError::record_wrong_user));
}

TEST(CredentialRecord, OfAnotherDeviceIsRefused) {
  EXPECT_TRUE(failed_with(read_with("deviceId", "\"device-2\""), CryptoError::record_wrong_device));
  EXPECT_TRUE(failed_with(read_with("deviceId", "\"Device-1\""), CryptoError::record_wrong_device));
}

TEST(CredentialRecord, IsTakenForTenMinutes) {
  EXPECT_TRUE(read_with("iat", "1799999400"));
  const auto stale = read_with("iat", "1799999399");
  ASSERT_TRUE(failed_with(stale, CryptoError::record_stale));
  EXPECT_EQ(stale.error().detail, 601u);
  EXPECT_TRUE(read_with("iat", "1800000060"));
  EXPECT_TRUE(failed_with(read_with("iat", "1800000061"), CryptoError::record_early));
  EXPECT_TRUE(failed_with(read_with("iat", "0"), CryptoError::record_stale));
  EXPECT_TRUE(failed_with(read_with("iat", "-1"), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(read_with("iat", "9223372036854775807"), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(read_with("iat", "\"1800000000\""), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(read_with("iat", "1800000000.5"), CryptoError::record_malformed));
}

TEST(CredentialRecord, OfATypeToComeIsNamedInTheRefusal) {
  for (auto [name, type] : {std::pair{"\"oauth\"", CredentialType::oauth},
                            {"\"certificate\"", CredentialType::certificate},
                            {"\"dual\"", CredentialType::dual}}) {
    const auto refused = read_with("type", name);
    ASSERT_TRUE(failed_with(refused, CryptoError::unsupported_type)) << name;
    EXPECT_EQ(refused.error().detail, static_cast<uint32_t>(type));
  }
  EXPECT_TRUE(failed_with(read_with("type", "\"kerberos\""), CryptoError::record_malformed));
}

TEST(CredentialRecord, NeedsEachMemberInItsForm) {
  for (std::string_view name : {"address", "userId", "deviceId", "iat", "type", "username", "password"}) {
    EXPECT_TRUE(failed_with(read_with(name, ""), CryptoError::record_malformed)) << name;
    EXPECT_TRUE(failed_with(read_with(name, "true"), CryptoError::record_malformed)) << name;
  }
  const std::string long_text = "\"" + std::string(256, 'x') + "\"";
  for (const std::string& bad : {std::string("\"\""), std::string("\"a:b\""), std::string("\"a\\nb\""),
                                 std::string("\"a\\u007f\""), long_text}) {
    EXPECT_TRUE(failed_with(read_with("username", bad), CryptoError::record_malformed)) << bad;
  }
  EXPECT_TRUE(failed_with(read_with("password", "\"a\\u0001\""), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(read_with("password", long_text), CryptoError::record_malformed));
  for (std::string_view bad : {"\"\"", "\"anna\"", "\"@example.com\"", "\"anna@\"", "\"a@b@c\"", "\"a b@c\""}) {
    EXPECT_TRUE(failed_with(read_with("address", bad), CryptoError::record_malformed)) << bad;
  }
  EXPECT_TRUE(failed_with(read_credential_record(Secret::copy_of("{"), expected()), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(read_credential_record(Secret(), expected()), CryptoError::record_malformed));
}

TEST(CredentialRecord, LeavesNoSecretBehind) {
  const int64_t before = Secret::live_count();
  const size_t blocks = arena_stats().blocks_in_use;
  {
    (void)read_with("", "");
  }
  {
    (void)read_with("password", "true");
  }
  EXPECT_EQ(Secret::live_count(), before);
  EXPECT_EQ(arena_stats().blocks_in_use, blocks);
}

TEST(PackedRecord, RoundTripsWithTheAddressApartOrShared) {
  for (auto [address, username] : {std::pair<std::string_view, std::string_view>{"anna@example.com", "EXAMPLE\\anna"},
                                   {"anna@example.com", "anna@example.com"},
                                   {"", "anna"}}) {
    const CredentialRecord record = record_of(address, username, "pass:word");
    const auto packed = pack_record(record, 190);
    ASSERT_TRUE(packed);
    const auto again = unpack_record(*packed);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->address.reveal_text(), address);
    EXPECT_EQ(basic(again).username.reveal_text(), username);
    EXPECT_EQ(basic(again).password.reveal_text(), "pass:word");
  }
}

TEST(PackedRecord, StoresAnAddressThatIsTheUsernameOnce) {
  const auto shared = pack_record(record_of("anna@example.com", "anna@example.com", "pw"), 190);
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->size(), 1u + 1 + 16 + 1 + 2);
}

TEST(PackedRecord, DropsTheAddressWhereItDoesNotFitAndNothingElse) {
  const CredentialRecord record = record_of("anna@example.com", std::string(90, 'u'), std::string(90, 'p'));
  const auto with_address = pack_record(record, 183 + 17);
  ASSERT_TRUE(with_address);
  EXPECT_FALSE(unpack_record(*with_address)->address.empty());
  const auto without = pack_record(record, 183 + 16);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->size(), 183u);
  EXPECT_TRUE(unpack_record(*without)->address.empty());
  const auto too_large = pack_record(record, 182);
  ASSERT_TRUE(failed_with(too_large, CryptoError::too_large));
  EXPECT_EQ(too_large.error().detail, 183u);
}

TEST(PackedRecord, RefusesEveryTruncationAndTrailingBytesWithOneError) {
  const auto packed = pack_record(record_of("anna@example.com", "anna", "pw"), 190);
  ASSERT_TRUE(packed);
  for (size_t size = 0; size < packed->size(); ++size) {
    EXPECT_TRUE(failed_with(unpack_record(Secret::copy_of(packed->reveal().first(size))), CryptoError::decrypt_failed))
        << size;
  }
  Secret longer = Secret::of_size(packed->size() + 1);
  std::copy(packed->reveal().begin(), packed->reveal().end(), longer.reveal_mutable().begin());
  EXPECT_TRUE(failed_with(unpack_record(longer), CryptoError::decrypt_failed));
}

TEST(PackedRecord, TakesNoHeadByteThatItWouldNotWrite) {
  const auto packed = pack_record(record_of("anna@example.com", "anna@example.com", "pw"), 190);
  ASSERT_TRUE(packed);
  for (int head = 0; head < 256; ++head) {
    Secret changed = packed->clone();
    changed.reveal_mutable()[0] = static_cast<uint8_t>(head);
    EXPECT_EQ(unpack_record(changed).has_value(), head == 0x01 || head == 0x21) << head;
  }
}

TEST(Ens2Credentials, SplitAtTheFirstColon) {
  const auto record = read_ens2_credentials(Secret::copy_of("EXAMPLE\\anna:pass:word"));
  ASSERT_TRUE(record);
  EXPECT_EQ(basic(record).username.reveal_text(), "EXAMPLE\\anna");
  EXPECT_EQ(basic(record).password.reveal_text(), "pass:word");
  EXPECT_TRUE(record->address.empty());
  for (std::string_view bad : {"", "anna", ":pw", "anna:p\nw", "anna:\xff"}) {
    EXPECT_TRUE(failed_with(read_ens2_credentials(Secret::copy_of(bad)), CryptoError::record_malformed)) << bad;
  }
}

TEST(BasicAuthorization, IsThatOfRfc7617) {
  const CredentialRecord record = record_of("", "Aladdin", "open sesame");
  EXPECT_EQ(basic_authorization(std::get<BasicCredentials>(record.logon)).reveal_text(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  const CredentialRecord longest = record_of("", std::string(255, 'u'), std::string(255, 'p'));
  EXPECT_EQ(basic_authorization(std::get<BasicCredentials>(longest.logon)).size(), 6u + 684);
}

}  // namespace
}  // namespace bellhop::crypto
