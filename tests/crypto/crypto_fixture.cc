// SPDX-License-Identifier: Apache-2.0
#include "tests/crypto/crypto_fixture.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/base/check.h"

namespace bellhop::crypto {
namespace {

// The lines of keys/keys.txt of one kind.
std::vector<StoredTestKey> stored_keys(std::string_view kind) {
  std::ifstream file(BELLHOP_SOURCE_DIR "/tests/crypto/keys/keys.txt");
  std::vector<StoredTestKey> keys;
  for (std::string of_kind, name, text; file >> of_kind >> name >> text;) {
    if (of_kind != kind) continue;
    auto der = from_base64(text);
    BH_CHECK(der.has_value());
    keys.push_back({name, Secret::copy_of(*der)});
  }
  BH_CHECK(!keys.empty());
  return keys;
}

std::vector<TestKey> load(std::string_view kind) {
  std::vector<TestKey> keys;
  for (StoredTestKey& stored : stored_keys(kind)) {
    auto key = RsaPrivateKey::from_pkcs8(stored.pkcs8);
    BH_CHECK(key.has_value());
    keys.push_back({std::move(stored.name), *std::move(key)});
  }
  return keys;
}

}  // namespace

const std::vector<TestKey>& test_keys(unsigned bits) {
  static const auto& keys_2048 = *new std::vector<TestKey>(load("2048"));
  if (bits == 2048) return keys_2048;
  BH_CHECK(bits == 3072);
  static const auto& keys_3072 = *new std::vector<TestKey>(load("3072"));
  return keys_3072;
}

std::vector<StoredTestKey> refused_test_keys() { return stored_keys("refused"); }

const RsaPrivateKey& test_key() { return test_keys(2048)[6].key; }
const RsaPrivateKey& other_test_key() { return test_keys(2048)[7].key; }

std::vector<uint8_t> bytes_of_hex(std::string_view hex) {
  auto bytes = from_hex(hex);
  BH_CHECK(bytes.has_value());
  return *std::move(bytes);
}

std::optional<std::string> read_test_data(std::string_view path) {
  const char* folder = std::getenv("BELLHOP_TEST_DATA");
  if (!folder || !*folder) return std::nullopt;
  std::ifstream file(std::string(folder) + "/" + std::string(path), std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

__attribute__((no_sanitize("address", "undefined"))) std::vector<uint8_t> peek(const void* at, size_t size) {
  std::vector<uint8_t> copy(size);
  auto* from = static_cast<const volatile uint8_t*>(at);
  uint8_t* to = copy.data();
  for (size_t i = 0; i < size; ++i) to[i] = from[i];
  return copy;
}

}  // namespace bellhop::crypto
