// SPDX-License-Identifier: Apache-2.0
#include "crypto/jose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/random.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

namespace bellhop::crypto {
namespace {

// The whole way: parse, private-key step, open.
Result<Secret> open_jwe(std::string_view text, const RsaPrivateKey& key) {
  BH_TRY(const JweParsed jwe, parse_jwe_compact(text));
  const auto engine = make_scalar_engine();
  return jwe_open(jwe, rsa_decrypt_oaep(*engine, ConvertedKey(key.clone()), jwe.encrypted_key, {}));
}

std::string jwe_of(std::string_view plaintext) {
  auto text = jwe_encrypt(test_key().public_key(), as_bytes(plaintext));
  EXPECT_TRUE(text);
  return *std::move(text);
}

std::string with_header(std::string_view json, std::string_view jwe) {
  return to_base64url(as_bytes(json)) + std::string(jwe.substr(jwe.find('.')));
}

TEST(Jwe, OpensWhatItSealed) {
  for (size_t size : {0u, 1u, 15u, 16u, 17u, 1000u, 16384u}) {
    const std::string plaintext(size, 'x');
    const std::string text = jwe_of(plaintext);
    const auto parsed = parse_jwe_compact(text);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->kid, test_key().public_key().id().text());
    const auto opened = open_jwe(text, test_key());
    ASSERT_TRUE(opened) << size;
    EXPECT_EQ(opened->reveal_text(), plaintext);
  }
}

TEST(Jwe, RefusesAChangeOfAnyCharacter) {
  const std::string text = jwe_of("plaintext");
  std::string changed = text;
  for (size_t at = 0; at < text.size(); ++at) {
    changed[at] = text[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(open_jwe(changed, test_key())) << at;
    changed[at] = text[at];
  }
}

TEST(Jwe, GivesOneErrorForAWrongKeyAndForEveryChangedPart) {
  const std::string text = jwe_of("plaintext");
  EXPECT_TRUE(failed_with(open_jwe(text, other_test_key()), CryptoError::decrypt_failed));
  auto parsed = parse_jwe_compact(text);
  ASSERT_TRUE(parsed);
  const auto engine = make_scalar_engine();
  const ConvertedKey key(test_key().clone());
  for (size_t at = 0; at < parsed->encrypted_key.size(); ++at) {
    parsed->encrypted_key[at] ^= 1;
    const auto cek = rsa_decrypt_oaep(*engine, key, parsed->encrypted_key, {});
    EXPECT_TRUE(failed_with(jwe_open(*parsed, cek), CryptoError::decrypt_failed)) << at;
    parsed->encrypted_key[at] ^= 1;
  }
  const auto cek = rsa_decrypt_oaep(*engine, key, parsed->encrypted_key, {});
  ASSERT_TRUE(cek);
  ASSERT_TRUE(jwe_open(*parsed, cek));
  for (size_t at = 0; at < parsed->sealed.size(); ++at) {
    parsed->sealed[at] ^= 1;
    EXPECT_TRUE(failed_with(jwe_open(*parsed, cek), CryptoError::decrypt_failed)) << at;
    parsed->sealed[at] ^= 1;
  }
  for (uint8_t& byte : parsed->nonce) {
    byte ^= 1;
    EXPECT_TRUE(failed_with(jwe_open(*parsed, cek), CryptoError::decrypt_failed));
    byte ^= 1;
  }
  EXPECT_TRUE(failed_with(jwe_open(*parsed, Secret::copy_of(cek->reveal().first(16))), CryptoError::decrypt_failed));
  parsed->associated_data += 'A';
  EXPECT_TRUE(failed_with(jwe_open(*parsed, cek), CryptoError::decrypt_failed));
}

TEST(Jwe, RefusesEveryTruncation) {
  const std::string text = jwe_of("plaintext");
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(open_jwe(text.substr(0, size), test_key())) << size;
  EXPECT_TRUE(failed_with(parse_jwe_compact(text + "."), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwe_compact(text + ".AAAA"), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwe_compact(text + "="), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwe_compact(" " + text), CryptoError::malformed));
}

TEST(Jwe, TakesExactlyTheHeadersItKnows) {
  const std::string text = jwe_of("plaintext");
  for (std::string_view good : {R"({"alg":"RSA-OAEP-256","enc":"A256GCM"})",
                                R"({"typ":"JWE","cty":"json","kid":"k","enc":"A256GCM","alg":"RSA-OAEP-256"})"}) {
    EXPECT_TRUE(parse_jwe_compact(with_header(good, text))) << good;
  }
  for (std::string_view bad : {R"({})", R"({"alg":"RSA-OAEP-256"})", R"({"enc":"A256GCM"})",
                               R"({"alg":1,"enc":"A256GCM"})", R"({"alg":"RSA-OAEP-256","enc":"A256GCM","zip":"DEF"})",
                               R"({"alg":"RSA-OAEP-256","enc":"A256GCM","crit":"exp"})",
                               R"({"alg":"RSA-OAEP-256","enc":"A256GCM","crit":["exp"]})",
                               R"({"alg":"RSA-OAEP-256","enc":"A256GCM","jku":"https://a.test/"})",
                               R"({"alg":"RSA-OAEP-256","enc":"A256GCM","kid":7})",
                               R"({"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256","enc":"A256GCM"})", R"(["alg"])", ""}) {
    EXPECT_TRUE(failed_with(parse_jwe_compact(with_header(bad, text)), CryptoError::malformed)) << bad;
  }
  for (std::string_view other :
       {R"({"alg":"RSA-OAEP","enc":"A256GCM"})", R"({"alg":"RSA1_5","enc":"A256GCM"})",
        R"({"alg":"dir","enc":"A256GCM"})", R"({"alg":"none","enc":"A256GCM"})",
        R"({"alg":"RSA-OAEP-256","enc":"A128GCM"})", R"({"alg":"RSA-OAEP-256","enc":"A256CBC-HS512"})",
        R"({"alg":"rsa-oaep-256","enc":"A256GCM"})"}) {
    EXPECT_TRUE(failed_with(parse_jwe_compact(with_header(other, text)), CryptoError::unsupported)) << other;
  }
  const std::string long_header = R"({"alg":"RSA-OAEP-256","enc":"A256GCM","kid":")" + std::string(1000, 'k') + "\"}";
  EXPECT_TRUE(failed_with(parse_jwe_compact(with_header(long_header, text)), CryptoError::malformed));
}

TEST(Jwe, HoldsItsBoundOfLength) {
  EXPECT_TRUE(failed_with(parse_jwe_compact(std::string(kJweBytesMax + 1, 'A')), CryptoError::malformed));
  const std::string plaintext(kJweBytesMax, 'x');
  EXPECT_TRUE(failed_with(jwe_encrypt(test_key().public_key(), as_bytes(plaintext)), CryptoError::too_large));
}

TEST(ProviderJwt, VerifiesWithItsClaims) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  const auto text = sign_provider_jwt(key, "ABC123DEFG", "TEAM\"456", 1'700'000'000);
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with(to_base64url(as_bytes(R"({"alg":"ES256","kid":"ABC123DEFG"})")) + "."));
  const auto jwt = parse_jwt(*text);
  ASSERT_TRUE(jwt);
  EXPECT_EQ(jwt->kid, "ABC123DEFG");
  EXPECT_EQ(std::string_view(*jwt->claims.text("iss")), "TEAM\"456");
  EXPECT_EQ(*jwt->claims.integer("iat"), 1'700'000'000);
  EXPECT_TRUE(verify_jwt(*jwt, key.public_key()));
  const Status other = verify_jwt(*jwt, Es256PrivateKey::generate().public_key());
  ASSERT_FALSE(other);
  EXPECT_TRUE(is(other.error(), CryptoError::signature_invalid));
  EXPECT_TRUE(failed_with(sign_provider_jwt(key, "\xff", "T", 0), CryptoError::malformed));
}

TEST(ProviderJwt, RefusesAChangeOfAnyCharacter) {
  const Es256PrivateKey key = Es256PrivateKey::generate();
  const auto text = sign_provider_jwt(key, "kid", "iss", 1);
  ASSERT_TRUE(text);
  std::string changed = *text;
  for (size_t at = 0; at < changed.size(); ++at) {
    changed[at] = (*text)[at] == 'A' ? 'B' : 'A';
    const auto jwt = parse_jwt(changed);
    EXPECT_FALSE(jwt && verify_jwt(*jwt, key.public_key())) << at;
    changed[at] = (*text)[at];
  }
}

TEST(ProviderJwt, RefusesOtherAlgorithmsNoneIncluded) {
  const auto text = sign_provider_jwt(Es256PrivateKey::generate(), "kid", "iss", 1);
  ASSERT_TRUE(text);
  EXPECT_TRUE(failed_with(parse_jwt(with_header(R"({"alg":"none"})", *text)), CryptoError::unsupported));
  EXPECT_TRUE(failed_with(parse_jwt(with_header(R"({"alg":"HS256","kid":"kid"})", *text)), CryptoError::unsupported));
  EXPECT_TRUE(failed_with(parse_jwt(with_header(R"({"kid":"kid"})", *text)), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwt(with_header(R"({"alg":"ES256","crit":"b64"})", *text)), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwt(text->substr(0, text->rfind('.') + 1)), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwt(*text + "AA"), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwt("a.b"), CryptoError::malformed));
  EXPECT_TRUE(failed_with(parse_jwt(std::string(10000, 'A')), CryptoError::malformed));
}

}  // namespace
}  // namespace bellhop::crypto
