// SPDX-License-Identifier: Apache-2.0
// The vectors of project Wycheproof, through the same functions that the server uses.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <deque>

#include "crypto/aead.h"
#include "crypto/es256.h"
#include "crypto/jose.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/crypto/lanes_fixture.h"

namespace bellhop::crypto {
namespace {

using simdjson::dom::element;

element member(element object, const char* name) {
  element value;
  EXPECT_EQ(object[name].get(value), simdjson::SUCCESS) << name;
  return value;
}
std::string_view text_of(element object, const char* name) {
  std::string_view text;
  EXPECT_EQ(object[name].get(text), simdjson::SUCCESS) << name;
  return text;
}
std::vector<uint8_t> hex_of(element object, const char* name) {
  return bytes_of_hex(text_of(object, name));
}
int64_t number_of(element object, const char* name) {
  int64_t number = 0;
  EXPECT_EQ(object[name].get(number), simdjson::SUCCESS) << name;
  return number;
}

// Calls test(group, vector) for each vector of the file; gives their number.
template <class F>
int64_t for_each_vector(std::string_view json, F&& test) {
  simdjson::dom::parser parser;
  element file;
  EXPECT_EQ(parser.parse(simdjson::padded_string(json)).get(file), simdjson::SUCCESS);
  int64_t count = 0;
  simdjson::dom::array groups, vectors;
  EXPECT_EQ(file["testGroups"].get(groups), simdjson::SUCCESS);
  for (element group : groups) {
    EXPECT_EQ(group["tests"].get(vectors), simdjson::SUCCESS);
    for (element vector : vectors) {
      SCOPED_TRACE("tcId " + std::to_string(number_of(vector, "tcId")));
      test(group, vector);
      ++count;
    }
  }
  EXPECT_EQ(count, number_of(file, "numberOfTests"));
  return count;
}

// All vectors of the file in one call of the engine.
void check_oaep_file(RsaEngine& engine, std::string_view path, OaepHashes hashes) {
  const auto json = read_test_data(path);
  BH_SKIP_WITHOUT(json);
  std::unique_ptr<ConvertedKey> key;
  struct Vector {
    int64_t id;
    std::vector<uint8_t> ciphertext, label, message;
    bool valid;
    RsaEngine::Request request;
  };
  std::deque<Vector> vectors;
  for_each_vector(*json, [&](element group, element vector) {
    if (!key) {
      const element parts = member(group, "privateKey");
      const auto n = hex_of(parts, "modulus"), e = hex_of(parts, "publicExponent"),
                 d = hex_of(parts, "privateExponent"), p = hex_of(parts, "prime1"), q = hex_of(parts, "prime2"),
                 dp = hex_of(parts, "exponent1"), dq = hex_of(parts, "exponent2"), qinv = hex_of(parts, "coefficient");
      auto imported = RsaPrivateKey::from_components({n, e, d, p, q, dp, dq, qinv});
      ASSERT_TRUE(imported);
      key = std::make_unique<ConvertedKey>(*std::move(imported));
    }
    Vector& one = vectors.emplace_back(Vector{number_of(vector, "tcId"), hex_of(vector, "ct"), hex_of(vector, "label"),
                                              hex_of(vector, "msg"), text_of(vector, "result") == "valid", {}});
    one.request.key = key.get();
    one.request.ciphertext = one.ciphertext;
  });
  std::vector<RsaEngine::Request*> requests;
  for (Vector& one : vectors) requests.push_back(&one.request);
  engine.run(requests);
  int valid = 0, invalid = 0;
  for (Vector& one : vectors) {
    SCOPED_TRACE("tcId " + std::to_string(one.id));
    Result<Secret> opened = fail(crypto_error(CryptoError::decrypt_failed));
    if (!one.request.encoded.empty()) opened = oaep_decode(one.request.encoded.reveal(), one.label, hashes);
    if (one.valid) {
      ASSERT_TRUE(opened);
      EXPECT_TRUE(opened->equals(one.message));
      ++valid;
    } else {
      EXPECT_TRUE(failed_with(opened, CryptoError::decrypt_failed));
      ++invalid;
    }
  }
  EXPECT_GT(valid, 10);
  EXPECT_GT(invalid, 10);
}

// BoringSSL one by one (null), and each kernel.
class WycheproofOaep : public testing::TestWithParam<const lanes::Kernel*> {
 protected:
  std::unique_ptr<RsaEngine> engine_ =
      GetParam() ? make_lane_engine({.kernel = GetParam(), .from_2048 = 1, .from_3072 = 1}) : make_scalar_engine();

  void TearDown() override {
    const RsaEngine::Stats stats = engine_->stats();
    EXPECT_EQ(stats.faults_total, 0u);
    EXPECT_EQ(GetParam() ? stats.scalar_total : stats.vector_total, 0u);
  }
};
std::vector<const lanes::Kernel*> oaep_kernels() {
  std::vector<const lanes::Kernel*> kernels = all_kernels();
  kernels.insert(kernels.begin(), nullptr);
  return kernels;
}
INSTANTIATE_TEST_SUITE_P(Engines, WycheproofOaep, testing::ValuesIn(oaep_kernels()),
                         [](const auto& info) { return std::string(info.param ? info.param->name : "boringssl"); });

TEST_P(WycheproofOaep, Sha256Mgf1Sha256) {
  check_oaep_file(*engine_, "wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json", {Hash::sha256, Hash::sha256});
}
TEST_P(WycheproofOaep, Sha256Mgf1Sha1) {
  check_oaep_file(*engine_, "wycheproof/rsa_oaep_2048_sha256_mgf1sha1_test.json", {Hash::sha256, Hash::sha1});
}
TEST_P(WycheproofOaep, Sha1Mgf1Sha1) {
  check_oaep_file(*engine_, "wycheproof/rsa_oaep_2048_sha1_mgf1sha1_test.json", {Hash::sha1, Hash::sha1});
}

TEST(Wycheproof, Aes256Gcm) {
  const auto json = read_test_data("wycheproof/aes_gcm_test.json");
  BH_SKIP_WITHOUT(json);
  int valid = 0, invalid = 0;
  for_each_vector(*json, [&](element group, element vector) {
    const bool ours =
        number_of(group, "keySize") == 256 && number_of(group, "ivSize") == 96 && number_of(group, "tagSize") == 128;
    if (!ours) return;
    const auto key = hex_of(vector, "key"), nonce = hex_of(vector, "iv"), data = hex_of(vector, "aad"),
               message = hex_of(vector, "msg");
    auto sealed = hex_of(vector, "ct");
    const auto tag = hex_of(vector, "tag");
    sealed.insert(sealed.end(), tag.begin(), tag.end());
    const auto opened = aead_open(key, nonce, data, sealed);
    if (text_of(vector, "result") == "valid") {
      ASSERT_TRUE(opened);
      EXPECT_TRUE(opened->equals(message));
      EXPECT_EQ(aead_seal(key, nonce, data, message), sealed);
      ++valid;
    } else {
      EXPECT_TRUE(failed_with(opened, CryptoError::decrypt_failed));
      ++invalid;
    }
  });
  EXPECT_GT(valid, 20);
  EXPECT_GT(invalid, 20);
}

TEST(Wycheproof, EcdsaP256Sha256) {
  const auto json = read_test_data("wycheproof/ecdsa_secp256r1_sha256_test.json");
  BH_SKIP_WITHOUT(json);
  int valid = 0, invalid = 0;
  for_each_vector(*json, [&](element group, element vector) {
    const auto key = Es256PublicKey::from_spki(hex_of(group, "publicKeyDer"));
    ASSERT_TRUE(key);
    const bool good = key->verify_der(hex_of(vector, "msg"), hex_of(vector, "sig"));
    EXPECT_EQ(good, text_of(vector, "result") == "valid");
    ++(good ? valid : invalid);
  });
  EXPECT_GT(valid, 50);
  EXPECT_GT(invalid, 50);
}

// The file's keys are of many kinds and sizes. What has another algorithm than ours must be refused before any key is
// touched; what is ours must open.
TEST(Wycheproof, JsonWebEncryption) {
  const auto json = read_test_data("wycheproof/json_web_encryption_test.json");
  BH_SKIP_WITHOUT(json);
  const auto engine = make_scalar_engine();
  int foreign = 0, ours = 0;
  for_each_vector(*json, [&](element group, element vector) {
    std::string_view jwe_text;
    if (vector["jwe"].get(jwe_text) != simdjson::SUCCESS) return;
    const auto jwe = parse_jwe_compact(jwe_text);
    if (!jwe) {
      EXPECT_TRUE(failed_with(jwe, CryptoError::unsupported) || failed_with(jwe, CryptoError::malformed));
      ++foreign;
      return;
    }
    ++ours;
    const element parts = member(group, "private");
    ASSERT_EQ(text_of(parts, "kty"), "RSA");
    auto number = [&](const char* name) {
      return from_base64url(text_of(parts, name)).value_or(std::vector<uint8_t>());
    };
    const auto n = number("n"), e = number("e"), d = number("d"), p = number("p"), q = number("q"), dp = number("dp"),
               dq = number("dq"), qinv = number("qi");
    auto key = RsaPrivateKey::from_components({n, e, d, p, q, dp, dq, qinv});
    ASSERT_TRUE(key);
    const auto cek = rsa_decrypt_oaep(*engine, ConvertedKey(*std::move(key)), jwe->encrypted_key, {});
    const auto opened = jwe_open(*jwe, cek);
    if (text_of(vector, "result") == "valid") {
      ASSERT_TRUE(opened);
      EXPECT_TRUE(opened->equals(hex_of(vector, "pt")));
    } else {
      EXPECT_TRUE(failed_with(opened, CryptoError::decrypt_failed));
    }
  });
  EXPECT_EQ(ours, 1);  // RSA-OAEP-256 with A256GCM
  EXPECT_GT(foreign, 100);
}

}  // namespace
}  // namespace bellhop::crypto
