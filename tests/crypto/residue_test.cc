// SPDX-License-Identifier: Apache-2.0
// After the work is done, the password is in no writable memory of the process: heap, arena, stack, anywhere.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "crypto/envelope.h"
#include "crypto/jose.h"
#include "crypto/random.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

constexpr size_t kPasswordSize = 14;  // short enough for the small-string buffer of a std::string
constexpr uint8_t kMask = 0xff;

// What to look for, masked, so that the search does not find itself.
struct Needle {
  std::vector<uint8_t> masked;

  explicit Needle(const Secret& secret) : masked(secret.reveal().begin(), secret.reveal().end()) {
    for (uint8_t& byte : masked) byte ^= kMask;
  }
  bool is_at(const uint8_t* bytes) const {
    for (size_t i = 0; i < masked.size(); ++i) {
      if ((bytes[i] ^ kMask) != masked[i]) return false;
    }
    return true;
  }
};

// Counts occurrences in all writable mappings, through the kernel, piece by piece.
size_t count_in_memory(const Needle& needle) {
  constexpr size_t kPiece = 1 << 20;
  static std::vector<uint8_t>& piece = *new std::vector<uint8_t>(kPiece);
  const int memory = open("/proc/self/mem", O_RDONLY);
  EXPECT_GE(memory, 0);
  std::ifstream maps("/proc/self/maps");
  size_t found = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0, to = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, access) != 3 || access[0] != 'r' || access[1] != 'w')
      continue;
    for (unsigned long at = from; at < to; at += kPiece - needle.masked.size()) {
      const size_t want = std::min<size_t>(kPiece, to - at);
      const ssize_t got = pread(memory, piece.data(), want, static_cast<off_t>(at));
      if (got < static_cast<ssize_t>(needle.masked.size())) break;
      for (size_t i = 0; i + needle.masked.size() <= static_cast<size_t>(got); ++i) {
        const uint8_t* here = piece.data() + i;
        const bool is_our_buffer = at + i >= reinterpret_cast<uintptr_t>(piece.data()) &&
                                   at + i < reinterpret_cast<uintptr_t>(piece.data()) + kPiece;
        if (!is_our_buffer && needle.is_at(here)) ++found;
      }
      if (at + want == to) break;
    }
  }
  std::fill(piece.begin(), piece.end(), 0);
  close(memory);
  return found;
}

Secret random_password() {
  Secret password = random_token_text();
  password.truncate(kPasswordSize);
  return password;
}

// The device's part: seals a record with this password.
__attribute__((noinline)) std::string seal_as_device(const Secret& password, WallTime now) {
  const CredentialRecord record{Secret::copy_of("anna@example.com"),
                                BasicCredentials{Secret::copy_of("anna"), password.clone()}};
  const Secret json = write_credential_record(record, "device", now);
  auto jwe = jwe_encrypt(test_key().public_key(), json.reveal());
  EXPECT_TRUE(jwe);
  return *std::move(jwe);
}

// The server's part: opens the registration, makes the envelope of the callback URL, opens that, logs on.
__attribute__((noinline)) void serve(std::string_view jwe_text, WallTime now, const Needle& needle) {
  const auto engine = make_scalar_engine();
  const ConvertedKey key(test_key().clone());
  const auto jwe = parse_jwe_compact(jwe_text);
  ASSERT_TRUE(jwe);
  const auto json = jwe_open(*jwe, rsa_decrypt_oaep(*engine, key, jwe->encrypted_key, {}));
  ASSERT_TRUE(json);
  const auto record = read_credential_record(*json, {user_id_of_address("anna@example.com"), "device", now});
  ASSERT_TRUE(record);
  const EnvelopeBinding binding{Capability::random(), key.key().public_key().id(), "https://mail.example.com:443"};
  const auto creds = envelope_seal(key.key().public_key(), *record, binding);
  ASSERT_TRUE(creds);
  const auto prepared = envelope_prepare(*creds, key.key().public_key(), binding);
  ASSERT_TRUE(prepared);
  const auto decrypted = rsa_decrypt_oaep(*engine, key, prepared->ciphertext, prepared->label);
  ASSERT_TRUE(decrypted);
  const auto opened = envelope_finish(*prepared, *decrypted);
  ASSERT_TRUE(opened);
  const Secret line = basic_authorization(std::get<BasicCredentials>(opened->logon));
  EXPECT_EQ(line.size(), 6u + 28);
  EXPECT_GT(count_in_memory(needle), 0u);  // the control: in the middle of it the search finds it
}

TEST(Residue, NoPasswordIsLeftInMemoryAfterRegistrationAndCallback) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "the sanitizer's own memory is too large to search";
#endif
#endif
  const WallTime now{std::chrono::seconds(1'800'000'000)};
  // The first round binds the names of shared libraries: the dynamic linker saves the vector registers on the stack
  // each time, with whatever the last copy left in them.
  for (bool warm : {false, true}) {
    Secret password = random_password();
    const Needle needle(password);
    const std::string jwe = seal_as_device(password, now);
    password.clear();
    serve(jwe, now, needle);
    if (warm) EXPECT_EQ(count_in_memory(needle), 0u);
  }
}

}  // namespace
}  // namespace bellhop::crypto
