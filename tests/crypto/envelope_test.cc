// SPDX-License-Identifier: Apache-2.0
#include "crypto/envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

class EnvelopeTest : public testing::Test {
 protected:
  EnvelopeTest() {
    auto creds = envelope_seal(test_key().public_key(), record(), binding_);
    EXPECT_TRUE(creds);
    creds_ = *std::move(creds);
  }
  static CredentialRecord record() {
    return {Secret::copy_of("anna@example.com"),
            BasicCredentials{Secret::copy_of("EXAMPLE\\anna"), Secret::copy_of("password")}};
  }
  Result<CredentialRecord> open(Bytes creds, const EnvelopeBinding& binding) {
    BH_TRY(const EnvelopePrepared prepared, envelope_prepare(creds, test_key().public_key(), binding));
    BH_TRY(const Secret decrypted, rsa_decrypt_oaep(*engine_, key_, prepared.ciphertext, prepared.label));
    return envelope_finish(prepared, decrypted);
  }

  std::unique_ptr<RsaEngine> engine_ = make_scalar_engine();
  ConvertedKey key_{test_key().clone()};
  EnvelopeBinding binding_{Capability::random(), test_key().public_key().id(), "https://mail.example.com:443"};
  std::vector<uint8_t> creds_;
};

TEST_F(EnvelopeTest, OpensWhatItSealed) {
  EXPECT_EQ(creds_.size(), 257u);
  const auto opened = open(creds_, binding_);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->address.reveal_text(), "anna@example.com");
  EXPECT_EQ(std::get<BasicCredentials>(opened->logon).username.reveal_text(), "EXAMPLE\\anna");
  EXPECT_EQ(std::get<BasicCredentials>(opened->logon).password.reveal_text(), "password");
}

TEST_F(EnvelopeTest, NeverSealsTheSameTwice) {
  const auto again = envelope_seal(test_key().public_key(), record(), binding_);
  ASSERT_TRUE(again);
  EXPECT_NE(*again, creds_);
  EXPECT_NE(creds_digest(*again), creds_digest(creds_));
}

TEST_F(EnvelopeTest, RefusesAChangeOfAnyByteWithOneError) {
  for (size_t at = 0; at < creds_.size(); ++at) {
    creds_[at] ^= 1;
    EXPECT_TRUE(failed_with(open(creds_, binding_), CryptoError::decrypt_failed)) << at;
    creds_[at] ^= 1;
  }
  EXPECT_TRUE(open(creds_, binding_));
}

TEST_F(EnvelopeTest, RefusesAnotherLength) {
  for (size_t size : {0u, 1u, 2u, 256u}) {
    EXPECT_TRUE(failed_with(open(Bytes(creds_).first(size), binding_), CryptoError::decrypt_failed)) << size;
  }
  creds_.push_back(0);
  EXPECT_TRUE(failed_with(open(creds_, binding_), CryptoError::decrypt_failed));
}

TEST_F(EnvelopeTest, RefusesATransplant) {
  EnvelopeBinding other = binding_;
  other.capability.bytes[15] ^= 1;
  EXPECT_TRUE(failed_with(open(creds_, other), CryptoError::decrypt_failed));
  other = binding_;
  other.ews_origin = "https://mail.example.net:443";
  EXPECT_TRUE(failed_with(open(creds_, other), CryptoError::decrypt_failed));
  other = binding_;
  other.ews_origin = "https://mail.example.com:44";
  EXPECT_TRUE(failed_with(open(creds_, other), CryptoError::decrypt_failed));
  other = binding_;
  other.key_id = other_test_key().public_key().id();
  EXPECT_TRUE(failed_with(open(creds_, other), CryptoError::decrypt_failed));
}

// The key id is in the label as well: a key that stands under another id does not open either.
TEST_F(EnvelopeTest, BindsTheKeyIdIntoTheLabel) {
  EnvelopeBinding other = binding_;
  other.key_id.bytes[0] ^= 1;
  EXPECT_NE(other.label(), binding_.label());
  EXPECT_TRUE(failed_with(rsa_decrypt_oaep(*engine_, key_, Bytes(creds_).subspan(1), other.label()),
                          CryptoError::decrypt_failed));
}

TEST_F(EnvelopeTest, OfAnotherKeyIsRefused) {
  EnvelopeBinding other = binding_;
  other.key_id = other_test_key().public_key().id();
  const auto foreign = envelope_seal(other_test_key().public_key(), record(), other);
  ASSERT_TRUE(foreign);
  EXPECT_TRUE(failed_with(open(*foreign, binding_), CryptoError::decrypt_failed));
}

TEST_F(EnvelopeTest, RefusesWellDecryptedGarbage) {
  const auto ciphertext = test_key().public_key().encrypt_oaep(as_bytes("garbage"), binding_.label());
  ASSERT_TRUE(ciphertext);
  std::vector<uint8_t> creds = {1};
  creds.insert(creds.end(), ciphertext->begin(), ciphertext->end());
  EXPECT_TRUE(failed_with(open(creds, binding_), CryptoError::decrypt_failed));
}

TEST_F(EnvelopeTest, SaysWhenARecordDoesNotFit) {
  CredentialRecord large{
      Secret(), BasicCredentials{Secret::copy_of(std::string(100, 'u')), Secret::copy_of(std::string(88, 'p'))}};
  const auto sealed = envelope_seal(test_key().public_key(), large, binding_);
  ASSERT_TRUE(failed_with(sealed, CryptoError::too_large));
  EXPECT_EQ(sealed.error().detail, 191u);
  std::get<BasicCredentials>(large.logon).password.truncate(87);
  EXPECT_TRUE(envelope_seal(test_key().public_key(), large, binding_));
}

TEST_F(EnvelopeTest, OfTheSplitFormIsNotOpenedHere) {
  creds_[0] = static_cast<uint8_t>(Envelope::split);
  EXPECT_TRUE(failed_with(open(creds_, binding_), CryptoError::decrypt_failed));
}

TEST_F(EnvelopeTest, LeavesNoSecretBehind) {
  const int64_t before = Secret::live_count();
  const size_t blocks = arena_stats().blocks_in_use;
  {
    EXPECT_TRUE(open(creds_, binding_));
  }
  creds_[100] ^= 1;
  {
    EXPECT_FALSE(open(creds_, binding_));
  }
  EXPECT_EQ(Secret::live_count(), before);
  EXPECT_EQ(arena_stats().blocks_in_use, blocks);
}

TEST_F(EnvelopeTest, TakesTheEns2Shape) {
  const RsaPublicKey& key = test_key().public_key();
  const auto ciphertext = key.encrypt_oaep(as_bytes("anna:password"), {});
  ASSERT_TRUE(ciphertext);
  const auto parsed = parse_ens2_credentials(to_base64(*ciphertext), key);
  ASSERT_TRUE(parsed);
  const auto text = rsa_decrypt_oaep(*engine_, key_, *parsed, {});
  ASSERT_TRUE(text);
  EXPECT_TRUE(read_ens2_credentials(*text));
  EXPECT_TRUE(failed_with(parse_ens2_credentials(to_base64url(*ciphertext), key), CryptoError::malformed));
  EXPECT_TRUE(
      failed_with(parse_ens2_credentials(to_base64(Bytes(*ciphertext).first(255)), key), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_ens2_credentials("", key), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_ens2_credentials(std::string(600, 'A'), key), CryptoError::malformed));
}

}  // namespace
}  // namespace bellhop::crypto
