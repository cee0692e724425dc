// SPDX-License-Identifier: Apache-2.0
#include "crypto/pkcs12.h"

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "crypto/error.h"

namespace bellhop::crypto {
namespace {

// tests/crypto/pkcs12/make.py says how the files were made.
std::string file(std::string_view name) {
  std::string path = std::string(BELLHOP_SOURCE_DIR) + "/tests/crypto/pkcs12/" + std::string(name) + ".p12";
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

constexpr std::string_view kPassword = "secret";
const WallTime kNow{std::chrono::sys_days(std::chrono::year(2030) / 6 / 1)};

Result<ClientCertificate> open(std::string_view name, std::string_view password = kPassword, WallTime now = kNow) {
  std::string bytes = file(name);
  return open_pkcs12(as_bytes(bytes), password, now);
}

// Certificates in a chain: whole DER sequences one after the other.
size_t certificates(const Secret& chain) {
  Bytes rest = chain.reveal();
  size_t count = 0;
  while (rest.size() >= 4) {
    EXPECT_EQ(rest[0], 0x30);
    EXPECT_EQ(rest[1], 0x82);  // long enough for two bytes of length
    rest = rest.subspan(std::min<size_t>(rest.size(), 4 + (size_t{rest[2]} << 8 | rest[3])));
    ++count;
  }
  EXPECT_TRUE(rest.empty());
  return count;
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

TEST(Pkcs12, OfEachExporterOpensToKeyAndChain) {
  struct {
    std::string_view name;
    size_t certificates;
  } const cases[] = {{"modern", 2},      {"legacy", 2}, {"triple_des", 1}, {"rsa2048", 1},     {"p384", 1},
                     {"rsa8192", 1},     {"ber", 1},    {"no_usage", 1},   {"unencrypted", 1}};
  for (const auto& one : cases) {
    auto opened = open(one.name);
    ASSERT_TRUE(opened) << one.name << ": " << error_text(opened.error());
    EXPECT_EQ(certificates(opened->chain), one.certificates) << one.name;  // never the root
    EXPECT_EQ(opened->private_key.reveal()[0], 0x30) << one.name;
  }
}

TEST(Pkcs12, ThatIsNoGoodIsRefusedByName) {
  struct {
    std::string_view name;
    CryptoError error;
  } const cases[] = {
      {"p521", CryptoError::pkcs12_key_kind},
      {"ed25519", CryptoError::pkcs12_key_kind},
      {"rsa1024", CryptoError::pkcs12_key_size},
      {"rsa9216", CryptoError::pkcs12_key_size},
      {"no_key", CryptoError::pkcs12_no_key},
      {"two_keys", CryptoError::pkcs12_many_keys},
      {"no_certificate", CryptoError::pkcs12_no_certificate},
      {"mismatch", CryptoError::pkcs12_mismatch},
      {"for_servers", CryptoError::pkcs12_not_for_clients},
      {"for_encryption", CryptoError::pkcs12_not_for_clients},
      {"without_mac", CryptoError::pkcs12_unsupported},
      {"signed", CryptoError::pkcs12_unsupported},
      {"scrypt", CryptoError::pkcs12_unsupported},
      {"unknown_cipher", CryptoError::pkcs12_unsupported},
      {"iterations_0", CryptoError::pkcs12_malformed},
      {"many_parts", CryptoError::pkcs12_too_large},
  };
  for (const auto& one : cases) {
    auto opened = open(one.name);
    ASSERT_FALSE(opened) << one.name;
    EXPECT_TRUE(is(opened.error(), one.error)) << one.name << ": " << error_text(opened.error());
  }
  EXPECT_EQ(open("rsa1024").error().detail, 1024u);
  EXPECT_EQ(open("rsa9216").error().detail, 9216u);
}

// Billions of iterations, wherever they stand, cost nothing: a single one of these files would take minutes.
TEST(Pkcs12, ThatAsksForTooMuchDerivationIsRefusedAtOnce) {
  for (std::string_view name : {"bomb_mac", "bomb_pbes2", "bomb_pbes1", "bomb_key", "bomb_sum", "bomb_hidden"}) {
    double before = cpu_seconds();
    auto opened = open(name);
    ASSERT_FALSE(opened) << name;
    EXPECT_TRUE(is(opened.error(), CryptoError::pkcs12_iterations)) << name << ": " << error_text(opened.error());
    EXPECT_LT(cpu_seconds() - before, 0.05) << name;
  }
  // What can be counted without the password is refused without it.
  for (std::string_view name : {"bomb_mac", "bomb_pbes2", "bomb_pbes1", "bomb_key", "bomb_sum"}) {
    std::string bytes = file(name);
    auto counted = count_pkcs12_iterations(as_bytes(bytes));
    ASSERT_FALSE(counted) << name;
    EXPECT_TRUE(is(counted.error(), CryptoError::pkcs12_iterations)) << name;
  }
  std::string hidden = file("bomb_hidden");
  EXPECT_TRUE(count_pkcs12_iterations(as_bytes(hidden)));  // only the password shows it
}

TEST(Pkcs12, CountsWhatItWillCost) {
  std::string modern = file("modern"), clear = file("unencrypted");
  // MAC, certificates twice, key: openssl's 2,048 each.
  EXPECT_EQ(count_pkcs12_iterations(as_bytes(modern)).value(), 4u * 2048);
  EXPECT_EQ(count_pkcs12_iterations(as_bytes(clear)).value(), 2048u);
}

TEST(Pkcs12, WithAWrongPasswordIsRefused) {
  for (std::string_view name : {"modern", "legacy", "triple_des", "unencrypted"}) {
    for (std::string_view password : {"", "Secret", "secret ", "s\xc3\xa4", "\xff\xfe"}) {
      auto opened = open(name, password);
      ASSERT_FALSE(opened) << name;
      EXPECT_TRUE(is(opened.error(), CryptoError::pkcs12_password)) << name << ": " << error_text(opened.error());
    }
    EXPECT_TRUE(is(open(name, std::string_view("secret\0more", 11)).error(), CryptoError::pkcs12_password)) << name;
  }
}

// An empty password has two encodings. OpenSSL writes one, others write the other, and a file opens with whichever it has.
TEST(Pkcs12, WithAnEmptyPasswordOpensInEitherEncoding) {
  for (std::string_view name : {"empty_password", "no_password"}) {
    for (std::string_view password : {std::string_view(), std::string_view("")}) {
      auto opened = open(name, password);
      ASSERT_TRUE(opened) << name << ": " << error_text(opened.error());
      EXPECT_EQ(certificates(opened->chain), 1u) << name;
    }
    EXPECT_TRUE(is(open(name).error(), CryptoError::pkcs12_password)) << name;
  }
  for (std::string_view password : {std::string_view(), std::string_view("")}) {
    double before = cpu_seconds();
    EXPECT_TRUE(is(open("bomb_no_password", password).error(), CryptoError::pkcs12_iterations));
    EXPECT_LT(cpu_seconds() - before, 0.05);
  }
}

TEST(Pkcs12, IsGoodBetweenItsDatesOnly) {
  const WallTime early{std::chrono::sys_days(std::chrono::year(2001) / 1 / 1)};
  const WallTime late{std::chrono::sys_days(std::chrono::year(2190) / 1 / 1)};
  EXPECT_TRUE(is(open("modern", kPassword, early).error(), CryptoError::pkcs12_not_yet_valid));
  EXPECT_TRUE(is(open("modern", kPassword, late).error(), CryptoError::pkcs12_expired));
}

TEST(Pkcs12, ThatIsJunkOrCutOffIsRefusedWithoutADerivation) {
  std::string whole = file("modern");
  for (std::string_view junk : std::initializer_list<std::string_view>{"", "\x30", "0", "\x30\x80", "-----BEGIN", "\x30\x03\x02\x01\x03"}) {
    auto counted = count_pkcs12_iterations(as_bytes(junk));
    ASSERT_FALSE(counted);
    EXPECT_TRUE(is(counted.error(), CryptoError::pkcs12_malformed));
  }
  for (size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_FALSE(count_pkcs12_iterations(as_bytes(std::string_view(whole).substr(0, size)))) << size;
  }
  std::string large(kPkcs12BytesMax + 1, '\x30');
  EXPECT_TRUE(is(count_pkcs12_iterations(as_bytes(large)).error(), CryptoError::pkcs12_too_large));
}

// Tags within tags, with lengths and without, ended and not: a conversion from BER may go deep or do work again at each level.
TEST(Pkcs12, ThatIsNestedDeeplyCostsLittle) {
  for (char tag : {'\x30', '\x24', '\xa0'}) {
    std::string open_ended, lengths;
    while (open_ended.size() + 2 <= kPkcs12BytesMax) open_ended += {tag, '\x80'};
    std::string ended = open_ended.substr(0, kPkcs12BytesMax / 2);
    ended.append(kPkcs12BytesMax / 2, '\0');
    while (lengths.size() + 4 <= kPkcs12BytesMax) {
      lengths.insert(lengths.begin(), {tag, '\x82', char(lengths.size() >> 8), char(lengths.size() & 0xff)});
    }
    // The last level without a length, so that all of it has to be converted.
    std::string mixed = lengths.substr(lengths.size() - 8'000);
    for (size_t at = 0; at < mixed.size(); at += 4) {
      size_t rest = mixed.size() - at - 4;
      mixed[at + 2] = char(rest >> 8), mixed[at + 3] = char(rest & 0xff);
    }
    mixed.replace(mixed.size() - 4, 4, std::string{tag, '\x80', '\0', '\0'});
    for (const std::string& file : {open_ended, ended, lengths, mixed}) {
      double before = cpu_seconds();
      EXPECT_FALSE(count_pkcs12_iterations(as_bytes(file)));
      EXPECT_LT(cpu_seconds() - before, 0.05);
    }
  }
}

// A changed byte gives another file, a named refusal, or (in what neither MAC nor key covers) the same content.
TEST(Pkcs12, ThatIsDamagedOpensToNothingElse) {
  std::string whole = file("unencrypted");
  auto good = open_pkcs12(as_bytes(whole), kPassword, kNow);
  ASSERT_TRUE(good);
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x21);
    auto opened = open_pkcs12(as_bytes(damaged), kPassword, kNow);
    if (opened) EXPECT_TRUE(opened->private_key.equals(good->private_key.reveal())) << at;
  }
}

TEST(Pkcs12, ThatWeMakeOpensAgain) {
  for (std::string_view name : {"modern", "legacy", "p384"}) {
    auto opened = open(name);
    ASSERT_TRUE(opened);
    auto made = make_pkcs12(*opened, "p\xc3\xa4ssword");
    ASSERT_TRUE(made) << error_text(made.error());
    auto again = open_pkcs12(made->reveal(), "p\xc3\xa4ssword", kNow);
    ASSERT_TRUE(again) << error_text(again.error());
    EXPECT_TRUE(again->private_key.equals(opened->private_key.reveal())) << name;
    EXPECT_TRUE(again->chain.equals(opened->chain.reveal())) << name;
  }
}

TEST(Pkcs12, LeavesNoSecretBehind) {
  int64_t before = Secret::live_count();
  { ASSERT_TRUE(open("modern")); }
  EXPECT_EQ(Secret::live_count(), before);
}

}  // namespace
}  // namespace bellhop::crypto
