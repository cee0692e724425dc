// SPDX-License-Identifier: Apache-2.0
#include "crypto/es256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

TEST(Es256, VerifiesWhatItSigned) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  const Es256PublicKey open = key.public_key();
  for (int i = 0; i < 50; ++i) {
    const std::string message = "message " + std::to_string(i);
    const Es256Signature signature = key.sign(as_bytes(message));
    EXPECT_TRUE(open.verify(as_bytes(message), signature));
    EXPECT_FALSE(open.verify(as_bytes(message + "x"), signature));
  }
}

TEST(Es256, RefusesAChangeOfAnyByteOfTheSignature) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  const Es256PublicKey open = key.public_key();
  Es256Signature signature = key.sign(as_bytes("m"));
  for (size_t at = 0; at < signature.size(); ++at) {
    signature[at] ^= 1;
    EXPECT_FALSE(open.verify(as_bytes("m"), signature)) << at;
    signature[at] ^= 1;
  }
  EXPECT_FALSE(open.verify(as_bytes("m"), Bytes(signature).first(63)));
  EXPECT_FALSE(open.verify(as_bytes("m"), {}));
  const Es256Signature zeros{};
  EXPECT_FALSE(open.verify(as_bytes("m"), zeros));
}

TEST(Es256, RoundTripsThroughPemAndSpki) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  const Secret pem = key.to_pem();
  EXPECT_THAT(std::string(pem.reveal_text()), testing::StartsWith("-----BEGIN PRIVATE KEY-----\nM"));
  const auto again = Es256PrivateKey::from_pem(pem.reveal_text());
  ASSERT_TRUE(again);
  const auto open = Es256PublicKey::from_spki(key.public_key().spki());
  ASSERT_TRUE(open);
  EXPECT_TRUE(open->verify(as_bytes("m"), again->sign(as_bytes("m"))));
}

TEST(Es256, ReadsAPemWithCarriageReturnsAndTextAround) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  std::string pem(key.to_pem().reveal_text());
  for (size_t at = 0; (at = pem.find('\n', at)) != std::string::npos; at += 2) pem.insert(at, "\r");
  EXPECT_TRUE(Es256PrivateKey::from_pem("some text\n" + pem + "\n\n"));
  wipe(pem);
}

TEST(Es256, RefusesABrokenPem) {
  std::string pem(Es256PrivateKey::generate().to_pem().reveal_text());
  const size_t end = pem.rfind("-----END");
  for (size_t size = 0; size < end; size += 7) {
    EXPECT_TRUE(failed_with(Es256PrivateKey::from_pem(pem.substr(0, size)), CryptoError::malformed)) << size;
    EXPECT_TRUE(failed_with(Es256PrivateKey::from_pem(pem.substr(0, size) + pem.substr(end)), CryptoError::malformed))
        << size;
  }
  EXPECT_TRUE(failed_with(Es256PrivateKey::from_pem(pem + pem), CryptoError::malformed));
  EXPECT_TRUE(failed_with(Es256PrivateKey::from_pem(std::string(5000, ' ') + pem), CryptoError::malformed));
}

TEST(Es256, RefusesAKeyOfAnotherAlgorithm) {
  const Secret der = test_key().to_pkcs8();
  const std::string pem =
      "-----BEGIN PRIVATE KEY-----\n" + std::string(base64_of(der).reveal_text()) + "\n-----END PRIVATE KEY-----\n";
  EXPECT_TRUE(failed_with(Es256PrivateKey::from_pem(pem), CryptoError::key_refused));
  EXPECT_TRUE(failed_with(Es256PublicKey::from_spki(test_key().public_key().spki()), CryptoError::key_refused));
}

}  // namespace
}  // namespace bellhop::crypto
