// SPDX-License-Identifier: Apache-2.0
#include "crypto/oaep.h"

#include <gtest/gtest.h>

#include "crypto/boringssl.h"
#include "crypto/random.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

#include <openssl/digest.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

constexpr size_t kModulusBytes = 256;

TEST(Oaep, DecodesEveryLengthThatItEncodes) {
  for (OaepHashes hashes : {OaepHashes{Hash::sha256, Hash::sha256}, OaepHashes{Hash::sha256, Hash::sha1},
                            OaepHashes{Hash::sha1, Hash::sha1}}) {
    const size_t capacity = oaep_capacity(kModulusBytes, hash_bytes(hashes.label));
    for (size_t size = 0; size <= capacity; ++size) {
      const Secret message = Secret::of_size(size);
      const auto encoded = oaep_encode(message.reveal(), as_bytes("label"), kModulusBytes, hashes);
      ASSERT_TRUE(encoded);
      ASSERT_EQ(encoded->reveal()[0], 0);
      const auto decoded = oaep_decode(encoded->reveal(), as_bytes("label"), hashes);
      ASSERT_TRUE(decoded) << size;
      EXPECT_TRUE(decoded->equals(message.reveal())) << size;
    }
    const Secret longer = Secret::of_size(capacity + 1);
    EXPECT_TRUE(failed_with(oaep_encode(longer.reveal(), {}, kModulusBytes, hashes), CryptoError::too_large));
  }
}

TEST(Oaep, KeepsTheMessagesBytesInOrder) {
  const std::string_view text = "the quick brown fox jumps over the lazy dog 0123456789";
  for (size_t size = 0; size <= text.size(); ++size) {
    const auto encoded = oaep_encode(as_bytes(text.substr(0, size)), {}, kModulusBytes);
    ASSERT_TRUE(encoded);
    EXPECT_EQ(oaep_decode(encoded->reveal(), {})->reveal_text(), text.substr(0, size));
  }
}

TEST(Oaep, RefusesAChangeOfAnyByteWithOneError) {
  const auto encoded = oaep_encode(as_bytes("message"), as_bytes("label"), kModulusBytes);
  ASSERT_TRUE(encoded);
  Secret changed = encoded->clone();
  for (size_t at = 0; at < kModulusBytes; ++at) {
    changed.reveal_mutable()[at] ^= 0x80;
    EXPECT_TRUE(failed_with(oaep_decode(changed.reveal(), as_bytes("label")), CryptoError::decrypt_failed)) << at;
    changed.reveal_mutable()[at] ^= 0x80;
  }
  EXPECT_TRUE(oaep_decode(changed.reveal(), as_bytes("label")));
}

TEST(Oaep, RefusesAnotherLabelOrHash) {
  const auto encoded = oaep_encode(as_bytes("message"), as_bytes("label"), kModulusBytes);
  ASSERT_TRUE(encoded);
  EXPECT_TRUE(failed_with(oaep_decode(encoded->reveal(), as_bytes("Label")), CryptoError::decrypt_failed));
  EXPECT_TRUE(failed_with(oaep_decode(encoded->reveal(), {}), CryptoError::decrypt_failed));
  EXPECT_TRUE(failed_with(oaep_decode(encoded->reveal(), as_bytes("label"), {Hash::sha256, Hash::sha1}),
                          CryptoError::decrypt_failed));
  EXPECT_TRUE(failed_with(oaep_decode(encoded->reveal(), as_bytes("label"), {Hash::sha1, Hash::sha1}),
                          CryptoError::decrypt_failed));
}

TEST(Oaep, RefusesWhatIsTooShortToBeOne) {
  const std::vector<uint8_t> bytes(65);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    EXPECT_TRUE(failed_with(oaep_decode(Bytes(bytes).first(size), {}), CryptoError::decrypt_failed));
    EXPECT_TRUE(failed_with(oaep_encode({}, {}, size), CryptoError::too_large));
  }
}

// BoringSSL's own encoder and decoder, as a second opinion.
TEST(Oaep, AgreesWithBoringSsl) {
  const Secret message = random_secret(77);
  const Bytes label = as_bytes("label");
  std::vector<uint8_t> theirs(kModulusBytes);
  ASSERT_EQ(RSA_padding_add_PKCS1_OAEP_mgf1(theirs.data(), theirs.size(), message.reveal().data(), message.size(),
                                            label.data(), label.size(), EVP_sha256(), EVP_sha256()),
            1);
  const auto decoded = oaep_decode(theirs, label);
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->equals(message.reveal()));
}

}  // namespace
}  // namespace bellhop::crypto
