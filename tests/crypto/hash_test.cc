// SPDX-License-Identifier: Apache-2.0
#include "crypto/hash.h"

#include <gtest/gtest.h>

#include "crypto/error.h"
#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

TEST(Sha256, GivesTheFips180Vector) {
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hmac, GivesTheRfc4231Vectors) {
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(bytes_of_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), as_bytes("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  const std::vector<uint8_t> long_key(131, 0xaa);
  EXPECT_EQ(to_hex(hmac_sha256(long_key, as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  // A key of exactly one block, from another implementation.
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(long_key).first(64), as_bytes("x"))),
            "ce3c639dcb9d8baae5d44c3b8b5e233faab4d1860e07489af5c84f213998bd79");
}

TEST(Hkdf, GivesTheRfc5869VectorWithoutSaltAndInfo) {
  const Secret key = Secret::copy_of(Bytes(bytes_of_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")));
  EXPECT_EQ(to_hex(hkdf_sha256(key, "", 42).reveal()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(Hkdf, GivesEachPurposeItsOwnKey) {
  const Secret key = random_secret(32);
  EXPECT_FALSE(hkdf_sha256(key, "seal", 32).equals(hkdf_sha256(key, "split", 32).reveal()));
}

TEST(HashOfParts, TellsHowTheBytesAreDivided) {
  EXPECT_NE(sha256_of_parts({as_bytes("ab"), as_bytes("c")}), sha256_of_parts({as_bytes("a"), as_bytes("bc")}));
  EXPECT_NE(sha256_of_parts({as_bytes("ab")}), sha256_of_parts({as_bytes("ab"), {}}));
  EXPECT_NE(hmac_sha256_of_parts(as_bytes("k"), {as_bytes("ab"), as_bytes("c")}),
            hmac_sha256_of_parts(as_bytes("k"), {as_bytes("a"), as_bytes("bc")}));
  EXPECT_EQ(sha256_of_parts({as_bytes("a"), as_bytes("bc")}), sha256(std::string_view("\0\0\0\1a\0\0\0\2bc", 11)));
  EXPECT_EQ(hmac_sha256_of_parts(as_bytes("k"), {as_bytes("a")}),
            hmac_sha256(as_bytes("k"), as_bytes(std::string_view("\0\0\0\1a", 5))));
}

TEST(Random, NeverGivesTheSameTwice) {
  EXPECT_FALSE(random_secret(32).equals(random_secret(32).reveal()));
}

TEST(CryptoErrors, HaveATextEach) {
  register_error_texts();
  for (int code = 1; code <= static_cast<int>(CryptoError::keyring_owner); ++code) {
    const std::string text = error_text(crypto_error(static_cast<CryptoError>(code)));
    EXPECT_TRUE(text.starts_with("crypto: ")) << text;
    EXPECT_EQ(text.find("code "), std::string::npos) << text;
  }
  EXPECT_EQ(error_text(crypto_error(static_cast<CryptoError>(999))), "crypto: code 999");
}

}  // namespace
}  // namespace bellhop::crypto
