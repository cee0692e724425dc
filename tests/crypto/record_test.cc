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

constexpr CredentialTypes kAllTypes = {CredentialType::basic, CredentialType::oauth, CredentialType::certificate,
                                       CredentialType::dual};

CredentialRecord oauth_record() {
  return {Secret::copy_of(kAddress), OauthCredentials{.refresh_token = Secret::copy_of("1.refresh token~"),
                                                      .token_endpoint = Secret::copy_of("https://login.example.com/t"),
                                                      .client_id = Secret::copy_of("mail-app"),
                                                      .scope = Secret::copy_of("EWS.AccessAsUser.All offline_access"),
                                                      .access_token = Secret()}};
}
CredentialRecord certificate_record() {
  return {Secret::copy_of(kAddress),
          CertificateCredentials{Secret::copy_of("\x30\x03 any bytes \xff"), Secret::copy_of("p\xc3\xa4ss"), {}}};
}
ClientCertificate opened_certificate() {
  return {Secret::copy_of("\x30\x04 key\xff"), Secret::copy_of("\x30\x06 chain")};
}
// The same after its PKCS#12 was opened.
CredentialRecord opened_certificate_record() {
  return {Secret::copy_of(kAddress), CertificateCredentials{{}, {}, opened_certificate()}};
}
CredentialRecord dual_record() {
  return {Secret::copy_of(kAddress),
          DualCredentials{BasicCredentials{Secret::copy_of("anna"), Secret::copy_of("password-1")},
                          CertificateCredentials{Secret::copy_of("\x30\x03 bytes"), Secret::copy_of("password-2"), {}}}};
}
CredentialRecord opened_dual_record() {
  CredentialRecord record = dual_record();
  *certificate_of(record) = CertificateCredentials{{}, {}, opened_certificate()};
  return record;
}

// `record` as the device writes it, with the JSON text of one member replaced ("": removed), and read again.
Result<CredentialRecord> reread_with(const CredentialRecord& record, std::string_view name = "",
                                     std::string_view value = "") {
  const Secret json = write_credential_record(record, "device-1", kNow);
  std::string text(json.reveal_text());
  if (!name.empty()) {
    const std::string key = ",\"" + std::string(name) + "\":";
    const size_t at = text.find(key);
    if (at != std::string::npos) text.erase(at, text.find_first_of(",}", text.find('"', at + key.size() + 1)) - at);
    if (!value.empty()) text.insert(text.size() - 1, key + std::string(value));
  }
  RecordExpectation wanted = expected();
  wanted.types = kAllTypes;
  return read_credential_record(Secret::copy_of(text), wanted);
}
std::string quoted(size_t size, char c = 'x') {
  return '"' + std::string(size, c) + '"';
}

TEST(CredentialRecord, OfTypeOauthIsReadWhereTheCallerTakesIt) {
  const auto record = reread_with(oauth_record());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->type(), CredentialType::oauth);
  const auto& oauth = std::get<OauthCredentials>(record->logon);
  EXPECT_EQ(oauth.refresh_token.reveal_text(), "1.refresh token~");
  EXPECT_EQ(oauth.token_endpoint.reveal_text(), "https://login.example.com/t");
  EXPECT_EQ(oauth.client_id.reveal_text(), "mail-app");
  EXPECT_EQ(oauth.scope.reveal_text(), "EWS.AccessAsUser.All offline_access");
  EXPECT_TRUE(oauth.access_token.empty());
  const auto without_scope = reread_with(oauth_record(), "scope");
  ASSERT_TRUE(without_scope);
  EXPECT_TRUE(std::get<OauthCredentials>(without_scope->logon).scope.empty());
  // An access token that comes along is not kept: the first grant brings another.
  const auto with_access = reread_with(oauth_record(), "accessToken", "\"abc\"");
  ASSERT_TRUE(with_access);
  EXPECT_TRUE(std::get<OauthCredentials>(with_access->logon).access_token.empty());
}

TEST(CredentialRecord, WithAnAccessTokenAloneIsRefused) {
  const Secret json = write_credential_record(oauth_record(), "device-1", kNow);
  std::string text(json.reveal_text());
  text.replace(text.find("refreshToken"), 12, "accessToken");
  RecordExpectation wanted = expected();
  wanted.types = kAllTypes;
  EXPECT_TRUE(failed_with(read_credential_record(Secret::copy_of(text), wanted), CryptoError::record_no_refresh_token));
}

TEST(CredentialRecord, OfTypeOauthNeedsEachMemberWithinItsBounds) {
  for (std::string_view name : {"refreshToken", "tokenEndpoint", "clientId"}) {
    EXPECT_TRUE(failed_with(reread_with(oauth_record(), name), CryptoError::record_malformed)) << name;
    for (std::string_view bad : {"\"\"", "true", "\"a\\nb\"", "\"\u00e4\""}) {
      EXPECT_TRUE(failed_with(reread_with(oauth_record(), name, bad), CryptoError::record_malformed)) << name << bad;
    }
  }
  for (auto [name, size_max] : {std::pair{"refreshToken", kRefreshTokenBytesMax},
                                {"tokenEndpoint", kTokenEndpointBytesMax},
                                {"clientId", kClientIdBytesMax},
                                {"scope", kScopeBytesMax}}) {
    EXPECT_TRUE(reread_with(oauth_record(), name, quoted(size_max))) << name;
    EXPECT_TRUE(failed_with(reread_with(oauth_record(), name, quoted(size_max + 1)), CryptoError::record_malformed));
  }
  EXPECT_TRUE(
      failed_with(reread_with(oauth_record(), "tokenEndpoint", "\"https://a b\""), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(reread_with(oauth_record(), "scope", "\"a\\\"b\""), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(reread_with(oauth_record(), "scope", "17"), CryptoError::record_malformed));
}

TEST(CredentialRecord, OfTypeCertificateAndDualAreReadWhereTheCallerTakesThem) {
  const auto certificate = reread_with(certificate_record());
  ASSERT_TRUE(certificate);
  EXPECT_EQ(certificate->type(), CredentialType::certificate);
  EXPECT_EQ(std::get<CertificateCredentials>(certificate->logon).pkcs12.reveal_text(), "\x30\x03 any bytes \xff");
  EXPECT_EQ(std::get<CertificateCredentials>(certificate->logon).password.reveal_text(), "p\xc3\xa4ss");
  const auto dual = reread_with(dual_record());
  ASSERT_TRUE(dual);
  EXPECT_EQ(dual->type(), CredentialType::dual);
  EXPECT_EQ(std::get<DualCredentials>(dual->logon).basic.password.reveal_text(), "password-1");
  EXPECT_EQ(std::get<DualCredentials>(dual->logon).certificate.password.reveal_text(), "password-2");
}

TEST(CredentialRecord, WithACertificateNeedsPkcs12AsBase64WithinItsBounds) {
  for (std::string_view bad : {"", "\"\"", "\"MAA\"", "\"M*==\"", "1"}) {
    EXPECT_TRUE(failed_with(reread_with(certificate_record(), "pkcs12", bad), CryptoError::record_malformed)) << bad;
    EXPECT_TRUE(failed_with(reread_with(dual_record(), "pkcs12", bad), CryptoError::record_malformed)) << bad;
  }
  static_assert(kPkcs12BytesMax % 3 == 0);
  const size_t longest = kPkcs12BytesMax / 3 * 4;
  EXPECT_TRUE(reread_with(certificate_record(), "pkcs12", quoted(longest, 'A')));
  EXPECT_TRUE(failed_with(reread_with(certificate_record(), "pkcs12", quoted(longest + 4, 'A')),
                          CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(reread_with(dual_record(), "pkcs12Password"), CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(reread_with(dual_record(), "pkcs12Password", quoted(kPasswordBytesMax + 1)),
                          CryptoError::record_malformed));
  EXPECT_TRUE(failed_with(reread_with(dual_record(), "username", "\"a:b\""), CryptoError::record_malformed));
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
  for (CredentialRecord (*make)() : {&oauth_record, &certificate_record, &dual_record}) {
    EXPECT_TRUE(reread_with(make()));
    EXPECT_FALSE(reread_with(make(), "address", "1"));
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

// Every field of a record of any type, for comparison.
std::vector<std::string> texts_of(const CredentialRecord& record) {
  std::vector<std::string> texts = {std::string(record.address.reveal_text())};
  const auto add = [&](const Secret& field) { texts.emplace_back(field.reveal_text()); };
  if (const auto* basic = std::get_if<BasicCredentials>(&record.logon)) {
    add(basic->username), add(basic->password);
  } else if (const auto* oauth = std::get_if<OauthCredentials>(&record.logon)) {
    add(oauth->refresh_token), add(oauth->token_endpoint), add(oauth->client_id), add(oauth->scope);
    add(oauth->access_token), texts.push_back(std::to_string(to_unix_seconds(oauth->expires)));
  } else if (const auto* certificate = std::get_if<CertificateCredentials>(&record.logon)) {
    add(certificate->pkcs12), add(certificate->password);
    add(certificate->opened.private_key), add(certificate->opened.chain);
  } else {
    const auto& dual = std::get<DualCredentials>(record.logon);
    add(dual.basic.username), add(dual.basic.password), add(dual.certificate.pkcs12), add(dual.certificate.password);
    add(dual.certificate.opened.private_key), add(dual.certificate.opened.chain);
  }
  return texts;
}
CredentialRecord granted_record() {
  CredentialRecord record = oauth_record();
  auto& oauth = std::get<OauthCredentials>(record.logon);
  oauth.access_token = Secret::copy_of("header.payload.signature_-~+/==");
  oauth.expires = kNow + std::chrono::hours(1);
  return record;
}
CredentialRecord basic_record() {
  return record_of("anna@example.com", "anna", "pw");
}
constexpr CredentialRecord (*kSamples[])() = {&basic_record, &oauth_record, &granted_record,
                                              &opened_certificate_record, &opened_dual_record};

TEST(PackedRecord, RoundTripsEachType) {
  for (const auto& make : kSamples) {
    const CredentialRecord record = make();
    const auto packed = pack_record(record, kPackedBytesMax);
    ASSERT_TRUE(packed);
    const auto again = unpack_record(*packed);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->type(), record.type());
    EXPECT_EQ(texts_of(*again), texts_of(record));
  }
}

TEST(PackedRecord, OfTheLargestRecordFits) {
  CredentialRecord oauth = granted_record();
  auto& fields = std::get<OauthCredentials>(oauth.logon);
  fields.refresh_token = Secret::copy_of(std::string(kRefreshTokenBytesMax, 'r'));
  fields.token_endpoint = Secret::copy_of(std::string(kTokenEndpointBytesMax, 'e'));
  fields.client_id = Secret::copy_of(std::string(kClientIdBytesMax, 'c'));
  fields.scope = Secret::copy_of(std::string(kScopeBytesMax, 's'));
  fields.access_token = Secret::copy_of(std::string(kAccessTokenBytesMax, 'a'));
  oauth.address = Secret::copy_of("a@" + std::string(kAddressBytesMax - 2, 'b'));
  CredentialRecord dual = opened_dual_record();
  auto& both = std::get<DualCredentials>(dual.logon);
  both.basic.username = Secret::copy_of(std::string(kUsernameBytesMax, 'u'));
  both.basic.password = Secret::copy_of(std::string(kPasswordBytesMax, 'p'));
  both.certificate.opened.private_key = Secret::copy_of(std::string(kPkcs12BytesMax / 2, 'k'));
  both.certificate.opened.chain = Secret::copy_of(std::string(kPkcs12BytesMax / 2, 'c'));  // both within one bound
  dual.address = oauth.address.clone();
  for (const CredentialRecord* record : {&oauth, &dual}) {
    const auto packed = pack_record(*record, kPackedBytesMax);
    ASSERT_TRUE(packed);
    const auto again = unpack_record(*packed);
    ASSERT_TRUE(again);
    EXPECT_EQ(texts_of(*again), texts_of(*record));
    const auto tight = pack_record(*record, packed->size() - 1);
    ASSERT_TRUE(tight);
    EXPECT_TRUE(unpack_record(*tight)->address.empty());
    EXPECT_TRUE(failed_with(pack_record(*record, tight->size() - 1), CryptoError::too_large));
  }
}

TEST(PackedRecord, RefusesEveryTruncationAndTrailingBytesWithOneError) {
  for (const auto& make : kSamples) {
    const auto packed = pack_record(make(), kPackedBytesMax);
    ASSERT_TRUE(packed);
    for (size_t size = 0; size < packed->size(); ++size) {
      EXPECT_TRUE(
          failed_with(unpack_record(Secret::copy_of(packed->reveal().first(size))), CryptoError::decrypt_failed))
          << size;
    }
    Secret longer = Secret::of_size(packed->size() + 1);
    std::copy(packed->reveal().begin(), packed->reveal().end(), longer.reveal_mutable().begin());
    EXPECT_TRUE(failed_with(unpack_record(longer), CryptoError::decrypt_failed));
  }
}

TEST(PackedRecord, WithTheAddressTwiceIsRefused) {
  auto packed = pack_record(record_of("anna@example.com", "anna@example.con", "pw"), 190);
  ASSERT_TRUE(packed);
  MutableBytes bytes = packed->reveal_mutable();
  bytes[1 + 1 + 15] = 'm';  // the user name becomes the address
  EXPECT_TRUE(failed_with(unpack_record(*packed), CryptoError::decrypt_failed));
}

// Whatever comes: an error or a record that is written back to the same bytes.
TEST(PackedRecord, TakesOnlyWhatItWouldWriteUnderMutation) {
  uint64_t random = 0x9e3779b97f4a7c15u;
  for (const auto& make : kSamples) {
    const auto packed = pack_record(make(), kPackedBytesMax);
    ASSERT_TRUE(packed);
    for (int round = 0; round < 2000; ++round) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      Secret changed = packed->clone();
      changed.reveal_mutable()[(random >> 33) % changed.size()] ^= static_cast<uint8_t>((random >> 25) % 255 + 1);
      const auto record = unpack_record(changed);
      if (!record) {
        EXPECT_TRUE(is(record.error(), CryptoError::decrypt_failed));
        continue;
      }
      const auto again = pack_record(*record, kPackedBytesMax);
      ASSERT_TRUE(again);
      EXPECT_TRUE(again->equals(changed.reveal()));
    }
  }
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

TEST(PackedRecord, OfOtherTypesTakesNoHeadByteThatItWouldNotWrite) {
  for (const auto& make : {&oauth_record, &opened_certificate_record, &opened_dual_record}) {
    const auto packed = pack_record(make(), kPackedBytesMax);
    ASSERT_TRUE(packed);
    const uint8_t written = packed->reveal()[0];
    for (int head = 0; head < 256; ++head) {
      Secret changed = packed->clone();
      changed.reveal_mutable()[0] = static_cast<uint8_t>(head);
      EXPECT_EQ(unpack_record(changed).has_value(), head == written) << head;
    }
  }
}

TEST(AccessTokens, AreWhatABearerLineMayHold) {
  EXPECT_TRUE(is_access_token("eyJ0eXAi.eyJhdWQi.c2ln_-~+/=="));
  EXPECT_TRUE(is_access_token(std::string(kAccessTokenBytesMax, 'a')));
  const std::string too_long(kAccessTokenBytesMax + 1, 'a');
  for (std::string_view bad :
       std::initializer_list<std::string_view>{"", "=", "==", "a b", "a=b", "a\"", "a\r\nb", "\xc3\xa4", too_long}) {
    EXPECT_FALSE(is_access_token(bad)) << bad;
  }
  EXPECT_EQ(bearer_authorization(Secret::copy_of("abc.def")).reveal_text(), "Bearer abc.def");
}

TEST(RefreshTokens, AreVisibleText) {
  EXPECT_TRUE(is_refresh_token("0.AX \"quoted\" ~"));
  for (std::string_view bad : {"", "a\nb", "\x7f", "\xc3\xa4"}) EXPECT_FALSE(is_refresh_token(bad)) << bad;
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
