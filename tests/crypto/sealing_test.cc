// SPDX-License-Identifier: Apache-2.0
#include "crypto/sealing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

constexpr std::string_view kKeyA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
constexpr std::string_view kKeyB = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

Result<Keyring> parse(std::string_view text) {
  return Keyring::parse(Secret::copy_of(text));
}
std::string kek(std::string_view id, std::string_view key, std::string_view rest = "") {
  return "kek " + std::string(id) + " " + std::string(key) + std::string(rest) + "\n";
}
Keyring two_keys(std::string_view current_a, std::string_view current_b) {
  auto keyring = parse(kek("1", kKeyA, current_a) + kek("2", kKeyB, current_b));
  EXPECT_TRUE(keyring);
  return *std::move(keyring);
}

TEST(Keyring, ReadsKeysCommentsAndSpace) {
  const auto keyring = parse("# comment\n\n \t kek\t7   " + std::string(kKeyA) + " \n  # more\nkek 4294967295 " +
                             std::string(kKeyB) + " current");
  ASSERT_TRUE(keyring);
  EXPECT_EQ(keyring->current(), 4294967295u);
  EXPECT_EQ(keyring->ids(), (std::vector<uint32_t>{7, 4294967295u}));
  EXPECT_TRUE(keyring->has(7));
  EXPECT_FALSE(keyring->has(8));
}

TEST(Keyring, NamesTheLineOfASyntaxError) {
  const std::string good = kek("1", kKeyA, " current");
  const std::string bad_lines[] = {"kek\n",
                                   "kek 2\n",
                                   "key 2 " + std::string(kKeyB) + "\n",
                                   kek("0", kKeyB),
                                   kek("-1", kKeyB),
                                   kek("02", kKeyB),
                                   kek("4294967296", kKeyB),
                                   kek("x", kKeyB),
                                   kek("2", "AAAA"),
                                   kek("2", std::string(kKeyB.substr(0, 43))),
                                   kek("2", kKeyB, " Current"),
                                   kek("2", kKeyB, " current x"),
                                   kek("2", kKeyB, " # comment"),
                                   "2 " + std::string(kKeyB) + "\n",
                                   kek("2", "//79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA="),
                                   kek("2", kKeyB, "\r")};
  for (const std::string& bad : bad_lines) {
    const auto keyring = parse("# first\n" + good + bad);
    ASSERT_TRUE(failed_with(keyring, CryptoError::keyring_syntax)) << bad;
    EXPECT_EQ(keyring.error().detail, 3u) << bad;
  }
}

TEST(Keyring, WantsExactlyOneCurrentKeyAndEachIdOnce) {
  EXPECT_TRUE(failed_with(parse(""), CryptoError::keyring_empty));
  EXPECT_TRUE(failed_with(parse("# only words\n"), CryptoError::keyring_empty));
  EXPECT_TRUE(failed_with(parse(kek("1", kKeyA)), CryptoError::keyring_current));
  const auto two = parse(kek("1", kKeyA, " current") + kek("2", kKeyB, " current"));
  ASSERT_TRUE(failed_with(two, CryptoError::keyring_current));
  EXPECT_EQ(two.error().detail, 2u);
  const auto twice = parse(kek("1", kKeyA, " current") + kek("1", kKeyB));
  ASSERT_TRUE(failed_with(twice, CryptoError::keyring_duplicate));
  EXPECT_EQ(twice.error().detail, 2u);
}

TEST(Keyring, HoldsItsBounds) {
  std::string text = kek("1", kKeyA, " current");
  for (size_t i = 2; i <= Keyring::kKeysMax; ++i) text += kek(std::to_string(i), kKeyB);
  EXPECT_TRUE(parse(text));
  EXPECT_TRUE(failed_with(parse(text + kek("9999", kKeyB)), CryptoError::keyring_syntax));
  EXPECT_TRUE(failed_with(parse(std::string(Keyring::kTextBytesMax + 1, '\n')), CryptoError::keyring_syntax));
}

TEST(Keyring, IsMadeReadyToUse) {
  const auto a = Keyring::parse(make_keyring()), b = Keyring::parse(make_keyring(9));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->current(), 1u);
  EXPECT_EQ(b->current(), 9u);
  EXPECT_FALSE(a->derive(1, "seal")->equals(b->derive(9, "seal")->reveal()));
}

TEST(Keyring, TrustsAFileOfItsOwnerOnly) {
  EXPECT_TRUE(Keyring::check_permissions(S_IFREG | 0400, 10, 10));
  EXPECT_TRUE(Keyring::check_permissions(S_IFREG | 0600, 10, 10));
  for (uint32_t mode :
       {S_IFREG | 0440, S_IFREG | 0604, S_IFREG | 0644, S_IFREG | 0700, S_IFREG | 04400, S_IFDIR | 0400, S_IFREG | 0}) {
    const Status status = Keyring::check_permissions(mode, 10, 10);
    ASSERT_FALSE(status) << std::oct << mode;
    EXPECT_TRUE(is(status.error(), CryptoError::keyring_permissions));
  }
  const Status foreign = Keyring::check_permissions(S_IFREG | 0400, 11, 10);
  ASSERT_FALSE(foreign);
  EXPECT_TRUE(is(foreign.error(), CryptoError::keyring_owner));
  EXPECT_EQ(foreign.error().detail, 11u);
}

TEST(Keyring, DerivesOneKeyPerPurpose) {
  const Keyring keyring = two_keys(" current", "");
  EXPECT_FALSE(keyring.derive(1, "seal")->equals(keyring.derive(1, "split")->reveal()));
  EXPECT_FALSE(keyring.derive(1, "seal")->equals(keyring.derive(2, "seal")->reveal()));
  EXPECT_TRUE(failed_with(keyring.derive(3, "seal"), CryptoError::key_unknown));
}

TEST(Sealer, OpensWhatItSealed) {
  const Sealer sealer(two_keys(" current", ""));
  for (size_t size : {0u, 1u, 899u, 5000u}) {
    const Secret plaintext = Secret::of_size(size);
    const auto box = sealer.seal("keys", as_bytes("record"), plaintext.reveal());
    EXPECT_EQ(box.size(), size + Sealer::kOverheadBytes);
    const auto opened = sealer.unseal("keys", as_bytes("record"), box);
    ASSERT_TRUE(opened);
    EXPECT_TRUE(opened->equals(plaintext.reveal()));
  }
}

TEST(Sealer, RefusesAChangeOfAnyByte) {
  const Sealer sealer(two_keys(" current", ""));
  auto box = sealer.seal("keys", as_bytes("record"), as_bytes("private key"));
  for (size_t at = 0; at < box.size(); ++at) {
    box[at] ^= 0x40;
    // A box that names a key that is not there says so: no secret is in a KEK's number.
    const bool names_no_key = at >= 1 && at <= 4;
    EXPECT_TRUE(failed_with(sealer.unseal("keys", as_bytes("record"), box),
                            names_no_key ? CryptoError::key_unknown : CryptoError::decrypt_failed))
        << at;
    box[at] ^= 0x40;
  }
  for (size_t size = 0; size < box.size(); ++size) {
    EXPECT_TRUE(
        failed_with(sealer.unseal("keys", as_bytes("record"), Bytes(box).first(size)), CryptoError::decrypt_failed))
        << size;
  }
  EXPECT_TRUE(sealer.unseal("keys", as_bytes("record"), box));
}

TEST(Sealer, RefusesABoxOfAnotherRecordTableOrKey) {
  const Sealer sealer(two_keys(" current", ""));
  auto box = sealer.seal("keys", as_bytes("record"), as_bytes("x"));
  EXPECT_TRUE(failed_with(sealer.unseal("keys", as_bytes("recorD"), box), CryptoError::decrypt_failed));
  EXPECT_TRUE(failed_with(sealer.unseal("devices", as_bytes("record"), box), CryptoError::decrypt_failed));
  EXPECT_TRUE(failed_with(sealer.unseal("keysr", as_bytes("ecord"), box), CryptoError::decrypt_failed));
  box[4] = 2;  // the other KEK, which is there
  EXPECT_TRUE(failed_with(sealer.unseal("keys", as_bytes("record"), box), CryptoError::decrypt_failed));
}

TEST(Sealer, OpensBoxesOfAnOlderKeyAfterRotation) {
  const Sealer before(two_keys(" current", "")), after(two_keys("", " current"));
  const auto box = before.seal("t", as_bytes("k"), as_bytes("x"));
  EXPECT_EQ(Sealer::kek_of(box), 1u);
  EXPECT_TRUE(after.unseal("t", as_bytes("k"), box));
  EXPECT_EQ(Sealer::kek_of(after.seal("t", as_bytes("k"), as_bytes("x"))), 2u);
  EXPECT_FALSE(Sealer::kek_of(Bytes(box).first(10)));
  const auto without = parse(kek("2", kKeyB, " current"));
  const auto refused = Sealer(*without).unseal("t", as_bytes("k"), box);
  ASSERT_TRUE(failed_with(refused, CryptoError::key_unknown));
  EXPECT_EQ(refused.error().detail, 1u);
}

}  // namespace
}  // namespace bellhop::crypto
