// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/boringssl.h"
#include "crypto/random.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

// A pair that bellhop would not make, as PKCS#8 and SubjectPublicKeyInfo.
struct ForeignKey {
  Secret pkcs8;
  std::vector<uint8_t> spki;
};
ForeignKey make_foreign_key(int bits, unsigned exponent) {
  bssl::UniquePtr<RSA> rsa(RSA_new());
  bssl::UniquePtr<BIGNUM> e(BN_new());
  BN_set_word(e.get(), exponent);
  EXPECT_EQ(RSA_generate_key_ex(rsa.get(), bits, e.get(), nullptr), 1);
  bssl::UniquePtr<EVP_PKEY> key(EVP_PKEY_new());
  EVP_PKEY_set1_RSA(key.get(), rsa.get());
  bssl::ScopedCBB secret, open;
  CBB_init(secret.get(), 2048);
  CBB_init(open.get(), 512);
  EXPECT_TRUE(EVP_marshal_private_key(secret.get(), key.get()) && EVP_marshal_public_key(open.get(), key.get()));
  return {Secret::copy_of(Bytes(CBB_data(secret.get()), CBB_len(secret.get()))),
          {CBB_data(open.get()), CBB_data(open.get()) + CBB_len(open.get())}};
}

TEST(KeyId, IsTheThumbprintOfRfc7638) {
  const auto modulus = from_base64url(
      "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
      "BJECPebWKRXjBZCiFV4n3oknjhMst"
      "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
      "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr"
      "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw");
  ASSERT_TRUE(modulus);
  const auto key = RsaPublicKey::from_modulus(*modulus);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->id().text(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
  EXPECT_EQ(KeyId::from_text(key->id().text()), key->id());
  EXPECT_FALSE(KeyId::from_text("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X"));
  EXPECT_FALSE(KeyId::from_text("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt"));  // an unused bit is set
}

TEST(RsaPublicKey, RoundTripsThroughItsSpki) {
  const RsaPublicKey& key = test_key().public_key();
  const auto again = RsaPublicKey::from_spki(key.spki());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->id(), key.id());
  EXPECT_THAT(again->modulus(), testing::ElementsAreArray(key.modulus()));
  EXPECT_THAT(key.jwk(), testing::HasSubstr("\"kid\":\"" + key.id().text() + "\""));
  EXPECT_THAT(key.jwk(), testing::HasSubstr("\"n\":\"" + to_base64url(key.modulus()) + "\""));
}

TEST(RsaPublicKey, RefusesTruncatedAndTrailingDer) {
  std::vector<uint8_t> der = test_key().public_key().spki();
  for (size_t size = 0; size < der.size(); ++size) {
    EXPECT_TRUE(failed_with(RsaPublicKey::from_spki(Bytes(der).first(size)), CryptoError::malformed)) << size;
  }
  der.push_back(0);
  EXPECT_TRUE(failed_with(RsaPublicKey::from_spki(der), CryptoError::malformed));
}

TEST(RsaKeys, OfOtherSizesAndExponentsAreRefused) {
  for (auto [bits, exponent] : {std::pair{1024, 65537u}, {2048, 3u}, {2560, 65537u}}) {
    const ForeignKey foreign = make_foreign_key(bits, exponent);
    EXPECT_TRUE(failed_with(RsaPublicKey::from_spki(foreign.spki), CryptoError::key_refused)) << bits;
    EXPECT_TRUE(failed_with(RsaPrivateKey::from_pkcs8(foreign.pkcs8), CryptoError::key_refused)) << bits;
  }
  EXPECT_TRUE(failed_with(RsaPrivateKey::generate(1024), CryptoError::key_refused));
  EXPECT_TRUE(failed_with(RsaPrivateKey::generate(4096), CryptoError::key_refused));
  EXPECT_TRUE(failed_with(RsaPublicKey::from_modulus({}), CryptoError::key_refused));
}

TEST(RsaKeys, OfPrimesOfUnequalLengthAreRefused) {
  for (const StoredTestKey& refused : refused_test_keys()) {
    EXPECT_TRUE(failed_with(RsaPrivateKey::from_pkcs8(refused.pkcs8), CryptoError::key_refused)) << refused.name;
    // The same through its numbers.
    CBS der;
    CBS_init(&der, refused.pkcs8.reveal().data(), refused.pkcs8.size());
    bssl::UniquePtr<EVP_PKEY> pkey(EVP_parse_private_key(&der));
    ASSERT_TRUE(pkey) << refused.name;
    const RSA* rsa = EVP_PKEY_get0_RSA(pkey.get());
    auto bytes = [](const BIGNUM* number) {
      std::vector<uint8_t> out(BN_num_bytes(number));
      BN_bn2bin(number, out.data());
      return out;
    };
    const auto n = bytes(RSA_get0_n(rsa)), e = bytes(RSA_get0_e(rsa)), d = bytes(RSA_get0_d(rsa)),
               p = bytes(RSA_get0_p(rsa)), q = bytes(RSA_get0_q(rsa)), dp = bytes(RSA_get0_dmp1(rsa)),
               dq = bytes(RSA_get0_dmq1(rsa)), qinv = bytes(RSA_get0_iqmp(rsa));
    EXPECT_TRUE(failed_with(RsaPrivateKey::from_components({n, e, d, p, q, dp, dq, qinv}), CryptoError::key_refused))
        << refused.name;
  }
}

TEST(RsaPrivateKey, OfEachKindOpensWhatItsPublicKeySealed) {
  const auto engine = make_scalar_engine();
  for (unsigned bits : {2048u, 3072u}) {
    for (const TestKey& kept : test_keys(bits)) {
      ASSERT_EQ(kept.key.bits(), bits) << kept.name;
      const auto ciphertext = kept.key.public_key().encrypt_oaep(as_bytes("message"), as_bytes("label"));
      ASSERT_TRUE(ciphertext) << kept.name;
      const auto opened = rsa_decrypt_oaep(*engine, ConvertedKey(kept.key.clone()), *ciphertext, as_bytes("label"));
      ASSERT_TRUE(opened) << kept.name;
      EXPECT_EQ(opened->reveal_text(), "message");
    }
  }
}

// The pairs of the tests are not new in each run; this one is.
TEST(RsaPrivateKey, IsMadeAnewEachTime) {
  auto one = RsaPrivateKey::generate(), another = RsaPrivateKey::generate();
  ASSERT_TRUE(one && another);
  EXPECT_NE(one->public_key().id(), another->public_key().id());
  const auto ciphertext = one->public_key().encrypt_oaep(as_bytes("message"), {});
  ASSERT_TRUE(ciphertext);
  const auto engine = make_scalar_engine();
  EXPECT_TRUE(rsa_decrypt_oaep(*engine, ConvertedKey(*std::move(one)), *ciphertext, {}));
  EXPECT_FALSE(rsa_decrypt_oaep(*engine, ConvertedKey(*std::move(another)), *ciphertext, {}));
}

TEST(RsaPrivateKey, RoundTripsThroughPkcs8AndTheStoredForm) {
  const RsaPrivateKey& key = test_key();
  const auto imported = RsaPrivateKey::from_pkcs8(key.to_pkcs8());
  ASSERT_TRUE(imported);
  EXPECT_TRUE(imported->stored().equals(key.stored().reveal()));
  const auto loaded = RsaPrivateKey::from_stored(key.stored().clone());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->public_key().id(), key.public_key().id());
  EXPECT_EQ(loaded->bits(), 2048u);
  EXPECT_EQ(key.stored().size(), 899u);
}

TEST(RsaPrivateKey, RefusesAStoredFormOfAnotherLengthOrVersion) {
  const Bytes stored = test_key().stored().reveal();
  for (size_t size : {size_t{0}, size_t{1}, size_t{3}, stored.size() - 1}) {
    EXPECT_TRUE(failed_with(RsaPrivateKey::from_stored(Secret::copy_of(stored.first(size))), CryptoError::malformed))
        << size;
  }
  Secret longer = Secret::of_size(stored.size() + 1);
  std::copy(stored.begin(), stored.end(), longer.reveal_mutable().begin());
  EXPECT_TRUE(failed_with(RsaPrivateKey::from_stored(std::move(longer)), CryptoError::malformed));
  for (size_t at : {0u, 1u, 2u}) {
    Secret changed = test_key().stored().clone();
    changed.reveal_mutable()[at] ^= 0x40;
    EXPECT_TRUE(failed_with(RsaPrivateKey::from_stored(std::move(changed)), CryptoError::malformed)) << at;
  }
}

TEST(RsaPrivateKey, Works3072BitsWideToo) {
  auto key = RsaPrivateKey::generate(3072);
  ASSERT_TRUE(key);
  const auto ciphertext = key->public_key().encrypt_oaep(as_bytes("wide"), as_bytes("label"));
  ASSERT_TRUE(ciphertext);
  EXPECT_EQ(ciphertext->size(), 384u);
  const auto engine = make_scalar_engine();
  const auto opened = rsa_decrypt_oaep(*engine, ConvertedKey(*std::move(key)), *ciphertext, as_bytes("label"));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->reveal_text(), "wide");
}

class ScalarEngineTest : public testing::Test {
 protected:
  std::unique_ptr<RsaEngine> engine_ = make_scalar_engine();
  ConvertedKey key_{test_key().clone()};
};

TEST_F(ScalarEngineTest, OpensWhatThePublicKeySealed) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{50}, size_t{190}}) {
    const Secret message = size ? random_secret(size) : Secret();
    const auto ciphertext = test_key().public_key().encrypt_oaep(message.reveal(), as_bytes("label"));
    ASSERT_TRUE(ciphertext);
    const auto opened = rsa_decrypt_oaep(*engine_, key_, *ciphertext, as_bytes("label"));
    ASSERT_TRUE(opened) << size;
    EXPECT_TRUE(opened->equals(message.reveal()));
  }
  const Secret message = random_secret(191);
  EXPECT_TRUE(failed_with(test_key().public_key().encrypt_oaep(message.reveal(), {}), CryptoError::too_large));
}

TEST_F(ScalarEngineTest, AnswersManyRequestsOfDifferentKeysInOneCall) {
  ConvertedKey other(other_test_key().clone());
  const auto a = test_key().public_key().encrypt_oaep(as_bytes("a"), {});
  const auto b = other_test_key().public_key().encrypt_oaep(as_bytes("b"), {});
  ASSERT_TRUE(a && b);
  RsaEngine::Request requests[] = {
      {&key_, *a, {}}, {&other, *b, {}}, {&key_, Bytes(*a).first(255), {}}, {&key_, *a, Secret::copy_of("stale")}};
  RsaEngine::Request* const pointers[] = {&requests[0], &requests[1], &requests[2], &requests[3]};
  engine_->run(pointers);
  EXPECT_EQ(oaep_decode(requests[0].encoded.reveal(), {})->reveal_text(), "a");
  EXPECT_EQ(oaep_decode(requests[1].encoded.reveal(), {})->reveal_text(), "b");
  EXPECT_TRUE(requests[2].encoded.empty());
  EXPECT_EQ(oaep_decode(requests[3].encoded.reveal(), {})->reveal_text(), "a");
}

TEST_F(ScalarEngineTest, RefusesACiphertextThatIsNotSmallerThanTheModulus) {
  const Bytes modulus = test_key().public_key().modulus();
  EXPECT_TRUE(failed_with(rsa_decrypt_oaep(*engine_, key_, modulus, {}), CryptoError::decrypt_failed));
  const std::vector<uint8_t> ones(256, 0xff);
  EXPECT_TRUE(failed_with(rsa_decrypt_oaep(*engine_, key_, ones, {}), CryptoError::decrypt_failed));
}

TEST_F(ScalarEngineTest, LetsNoResultOutThatAFaultInTheCrtSpoiled) {
  const auto ciphertext = test_key().public_key().encrypt_oaep(as_bytes("message"), {});
  ASSERT_TRUE(ciphertext);
  const size_t d_end = 3 + 256;
  for (size_t at : {d_end + 256 + 100, d_end + 384 + 100, d_end + 512 + 100}) {  // in dP, dQ, qInv
    Secret spoiled = test_key().stored().clone();
    spoiled.reveal_mutable()[at] ^= 1;
    auto key = RsaPrivateKey::from_stored(std::move(spoiled));
    ASSERT_TRUE(key);
    const ConvertedKey converted(*std::move(key));
    RsaEngine::Request request{&converted, *ciphertext, {}};
    RsaEngine::Request* const pointers[] = {&request};
    engine_->run(pointers);
    EXPECT_TRUE(request.encoded.empty()) << at;
  }
}

}  // namespace
}  // namespace bellhop::crypto
