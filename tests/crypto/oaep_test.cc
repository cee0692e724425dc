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

// The whole error is the same, its detail too, whichever of the checks failed, or several of them.
TEST(Oaep, GivesOneErrorForEveryCause) {
  const Secret message = random_secret(40);
  const auto encoded = oaep_encode(message.reveal(), as_bytes("label"), kModulusBytes);
  ASSERT_TRUE(encoded);
  const Bytes bytes = encoded->reveal();
  // Unmasks, changes what `change` does to the data block (hash of the label || zeros || 1 || message), masks again with the
  // same seed: BoringSSL does the masking.
  constexpr size_t kHashBytes = 32, kBlockBytes = kModulusBytes - kHashBytes - 1;
  auto masked_anew = [&](auto change) {
    std::vector<uint8_t> out(bytes.begin(), bytes.end());
    const std::span block = std::span(out).subspan(1 + kHashBytes);
    std::vector<uint8_t> seed(out.begin() + 1, out.begin() + 1 + kHashBytes), mask(kBlockBytes), seed_mask(kHashBytes);
    auto mgf1 = [](std::vector<uint8_t>& mask_out, Bytes from) {
      std::vector<uint8_t> stream;
      for (uint8_t counter = 0; stream.size() < mask_out.size(); ++counter) {
        std::vector<uint8_t> input(from.begin(), from.end());
        input.insert(input.end(), {0, 0, 0, counter});
        const Digest digest = sha256(as_text(input));
        stream.insert(stream.end(), digest.begin(), digest.end());
      }
      std::copy_n(stream.begin(), mask_out.size(), mask_out.begin());
    };
    mgf1(seed_mask, block);
    for (size_t i = 0; i < kHashBytes; ++i) seed[i] ^= seed_mask[i];
    mgf1(mask, seed);
    for (size_t i = 0; i < kBlockBytes; ++i) block[i] ^= mask[i];
    change(block);
    for (size_t i = 0; i < kBlockBytes; ++i) block[i] ^= mask[i];
    mgf1(seed_mask, block);
    for (size_t i = 0; i < kHashBytes; ++i) out[1 + i] = seed[i] ^ seed_mask[i];
    return out;
  };
  const auto same = masked_anew([](std::span<uint8_t>) {});
  ASSERT_TRUE(oaep_decode(same, as_bytes("label")));  // the control

  const size_t one_at = kBlockBytes - message.size() - 1;
  const std::vector<std::vector<uint8_t>> broken = {
      masked_anew([](std::span<uint8_t> block) { block[0] ^= 1; }),                            // the label's hash
      masked_anew([](std::span<uint8_t> block) { block[kHashBytes - 1] ^= 0x80; }),            //
      masked_anew([](std::span<uint8_t> block) { block[kHashBytes] = 2; }),                    // the padding's start
      masked_anew([&](std::span<uint8_t> block) { block[one_at - 1] = 0xff; }),                // its end
      masked_anew([&](std::span<uint8_t> block) { block[one_at] = 0x81; }),                    // the one
      masked_anew([](std::span<uint8_t> block) { std::ranges::fill(block.subspan(32), 0); }),  // no one at all
      masked_anew([](std::span<uint8_t> block) { std::ranges::fill(block, 0xff); }),           // all of it
      std::vector<uint8_t>(kModulusBytes, 0),
      std::vector<uint8_t>(kModulusBytes, 0xff),
      std::vector<uint8_t>(65, 0),
      {},
  };
  const Error expected = crypto_error(CryptoError::decrypt_failed);
  for (size_t i = 0; i < broken.size(); ++i) {
    const auto decoded = oaep_decode(broken[i], as_bytes("label"));
    ASSERT_FALSE(decoded) << i;
    EXPECT_EQ(decoded.error(), expected) << i;
  }
  std::vector<uint8_t> first_byte = same;
  first_byte[0] = 1;
  EXPECT_EQ(oaep_decode(first_byte, as_bytes("label")).error(), expected);
  EXPECT_EQ(oaep_decode(same, as_bytes("lab")).error(), expected);
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
