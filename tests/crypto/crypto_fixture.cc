// SPDX-License-Identifier: Apache-2.0
#include "tests/crypto/crypto_fixture.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/base/check.h"

namespace bellhop::crypto {
namespace {

RsaPrivateKey made() {
  auto key = RsaPrivateKey::generate();
  BH_CHECK(key.has_value());
  return *std::move(key);
}

}  // namespace

const RsaPrivateKey& test_key() {
  static const RsaPrivateKey& key = *new RsaPrivateKey(made());
  return key;
}

const RsaPrivateKey& other_test_key() {
  static const RsaPrivateKey& key = *new RsaPrivateKey(made());
  return key;
}

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
