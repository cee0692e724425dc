// SPDX-License-Identifier: Apache-2.0
#include "crypto/split.h"

#include <gtest/gtest.h>

#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

Keyring keyring(std::string_view lines) {
  auto parsed = Keyring::parse(Secret::copy_of(lines));
  EXPECT_TRUE(parsed);
  return *std::move(parsed);
}
constexpr std::string_view kOld = "kek 7 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
constexpr std::string_view kNew = "kek 8 //79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

class Split : public testing::Test {
 protected:
  Split() {
    random_bytes(key_name_);
    binding_.key_name = key_name_;
    binding_.ews_origin = "https://mail.example.com:443";
    creds_ = keys_.make_creds(key_, binding_);
    auto sealed = split_seal(key_, record(), binding_);
    EXPECT_TRUE(sealed);
    ciphertext_ = *std::move(sealed);
  }
  static CredentialRecord record() {
    return {Secret::copy_of("anna@example.com"),
            OauthCredentials{.refresh_token = Secret::copy_of("the refresh token"),
                             .token_endpoint = Secret::copy_of("https://login.example.com/token"),
                             .client_id = Secret::copy_of("app"),
                             .scope = Secret(),
                             .access_token = Secret::copy_of("abc")}};
  }
  Result<CredentialRecord> open(Bytes creds, Bytes ciphertext, const SplitBinding& binding) {
    BH_TRY(const Secret key, keys_.open_creds(creds, binding));
    return split_open(key, ciphertext, binding);
  }
  bool opens(const SplitBinding& creds_binding, const SplitBinding& record_binding) {
    auto key = keys_.open_creds(creds_, creds_binding);
    EXPECT_TRUE(key || is(key.error(), CryptoError::decrypt_failed));
    return key && split_open(*key, ciphertext_, record_binding).has_value();
  }

  std::array<uint8_t, 16> key_name_{};
  SplitKeys keys_{keyring(std::string(kOld) + " current")};
  Secret key_ = make_split_key();
  SplitBinding binding_{.capability = Capability::random()};
  std::vector<uint8_t> creds_, ciphertext_;
};

TEST_F(Split, OpensWhatItSealed) {
  EXPECT_EQ(creds_.size(), kSplitCredsBytes);
  EXPECT_EQ(SplitKeys::kek_of(creds_), 7u);
  const auto opened = open(creds_, ciphertext_, binding_);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->address.reveal_text(), "anna@example.com");
  EXPECT_EQ(std::get<OauthCredentials>(opened->logon).refresh_token.reveal_text(), "the refresh token");
}

// Each half alone, tried with everything that its holder has.
TEST_F(Split, OfItsHalvesNeitherOpensAlone) {
  // The store and the keyring without a URL: the creds of another envelope, even of the same binding, do not help.
  const std::vector<uint8_t> other = keys_.make_creds(make_split_key(), binding_);
  EXPECT_TRUE(failed_with(open(other, ciphertext_, binding_), CryptoError::decrypt_failed));
  for (std::string_view purpose : {"split", "seal"}) {
    const auto derived = keyring(std::string(kOld) + " current").derive(7, purpose);
    EXPECT_TRUE(failed_with(split_open(*derived, ciphertext_, binding_), CryptoError::decrypt_failed));
  }
  EXPECT_TRUE(failed_with(split_open(Secret(), ciphertext_, binding_), CryptoError::decrypt_failed));
  // The URL and the store without the keyring.
  const SplitKeys stranger(keyring("kek 7 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= current"));
  EXPECT_TRUE(failed_with(stranger.open_creds(creds_, binding_), CryptoError::decrypt_failed));
  // The URL and the keyring without the store: the record of another mailbox is not opened by this K.
  const auto foreign = split_seal(make_split_key(), record(), binding_);
  ASSERT_TRUE(foreign);
  EXPECT_TRUE(failed_with(open(creds_, *foreign, binding_), CryptoError::decrypt_failed));
}

TEST_F(Split, RefusesAChangeOfAnyByteOfEitherHalf) {
  for (size_t at = 0; at < creds_.size(); ++at) {
    creds_[at] ^= 1;
    const auto opened = open(creds_, ciphertext_, binding_);
    // A KEK that nobody has is named in the log; who sent the URL learns the same.
    const bool names_kek = at >= 1 && at < 5;
    EXPECT_TRUE(failed_with(opened, names_kek ? CryptoError::key_unknown : CryptoError::decrypt_failed)) << at;
    creds_[at] ^= 1;
  }
  for (size_t at = 0; at < ciphertext_.size(); ++at) {
    ciphertext_[at] ^= 1;
    EXPECT_TRUE(failed_with(open(creds_, ciphertext_, binding_), CryptoError::decrypt_failed)) << at;
    ciphertext_[at] ^= 1;
  }
  EXPECT_TRUE(open(creds_, ciphertext_, binding_));
}

TEST_F(Split, RefusesAnotherLength) {
  for (size_t size = 0; size < creds_.size(); ++size) {
    EXPECT_TRUE(failed_with(keys_.open_creds(Bytes(creds_).first(size), binding_), CryptoError::decrypt_failed));
  }
  for (size_t size = 0; size < ciphertext_.size(); ++size) {
    EXPECT_TRUE(failed_with(split_open(key_, Bytes(ciphertext_).first(size), binding_), CryptoError::decrypt_failed));
  }
  creds_.push_back(0);
  EXPECT_TRUE(failed_with(keys_.open_creds(creds_, binding_), CryptoError::decrypt_failed));
  const std::vector<uint8_t> huge(kSplitCiphertextBytesMax + 1);
  EXPECT_TRUE(failed_with(split_open(key_, huge, binding_), CryptoError::decrypt_failed));
}

TEST_F(Split, BindsBothHalvesToCapabilityKeyAndOrigin) {
  ASSERT_TRUE(opens(binding_, binding_));
  SplitBinding capability = binding_, key = binding_, origin = binding_;
  capability.capability.bytes[15] ^= 1;
  std::array<uint8_t, 16> other_name = key_name_;
  other_name[0] ^= 1;
  key.key_name = other_name;
  origin.ews_origin = "https://mail.example.com:44";
  for (const SplitBinding& other : {capability, key, origin}) {
    EXPECT_FALSE(opens(other, binding_));
    EXPECT_FALSE(opens(binding_, other));
  }
}

TEST_F(Split, SealsTheRecordAnewUnderTheSameKeyWithAFreshNonce) {
  CredentialRecord renewed = record();
  std::get<OauthCredentials>(renewed.logon).refresh_token = Secret::copy_of("the next one");
  auto again = split_seal(key_, renewed, binding_), same = split_seal(key_, renewed, binding_);
  ASSERT_TRUE(again && same);
  const auto opened = open(creds_, *again, binding_);
  ASSERT_TRUE(opened);
  EXPECT_EQ(std::get<OauthCredentials>(opened->logon).refresh_token.reveal_text(), "the next one");
  again->resize(kAeadNonceBytes);
  same->resize(kAeadNonceBytes);
  EXPECT_NE(*again, *same);
}

TEST_F(Split, OpensUnderAnOldKekAndSealsUnderTheCurrentOne) {
  const SplitKeys both(keyring(std::string(kOld) + "\n" + std::string(kNew) + " current"));
  EXPECT_TRUE(both.open_creds(creds_, binding_));
  const std::vector<uint8_t> fresh = both.make_creds(key_, binding_);
  EXPECT_EQ(SplitKeys::kek_of(fresh), 8u);
  const auto retired = SplitKeys(keyring(std::string(kNew) + " current")).open_creds(creds_, binding_);
  ASSERT_TRUE(failed_with(retired, CryptoError::key_unknown));
  EXPECT_EQ(retired.error().detail, 7u);
}

TEST_F(Split, LeavesNoSecretBehind) {
  const int64_t before = Secret::live_count();
  const size_t blocks = arena_stats().blocks_in_use;
  {
    EXPECT_TRUE(open(creds_, ciphertext_, binding_));
  }
  ciphertext_.back() ^= 1;
  {
    EXPECT_FALSE(open(creds_, ciphertext_, binding_));
  }
  EXPECT_EQ(Secret::live_count(), before);
  EXPECT_EQ(arena_stats().blocks_in_use, blocks);
}

}  // namespace
}  // namespace bellhop::crypto
