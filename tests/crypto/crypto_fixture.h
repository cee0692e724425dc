// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "crypto/rsa.h"

namespace bellhop::crypto {

// The pairs of keys/keys.txt: 8 of 2048 bits, 4 of 3072, the same in each run. Among them p > q and p < q, primes as far
// apart as they can be, products just above the least and just below the largest.
struct TestKey {
  std::string name;
  RsaPrivateKey key;
};
const std::vector<TestKey>& test_keys(unsigned bits);

// Keys that are right but not for us: primes of unequal length, products that are a bit short.
struct StoredTestKey {
  std::string name;
  Secret pkcs8;
};
std::vector<StoredTestKey> refused_test_keys();

// Two of 2048 bits that nothing is special about.
const RsaPrivateKey& test_key();
const RsaPrivateKey& other_test_key();

// Bytes of hex digits; the text must be right.
std::vector<uint8_t> bytes_of_hex(std::string_view hex);

// The file's text, or nothing where the folder of test data is not there (the caller skips).
std::optional<std::string> read_test_data(std::string_view path);

// Reads memory that the sanitizer may have fenced off: freed blocks of the arena, dead stack.
std::vector<uint8_t> peek(const void* at, size_t size);

template <class T>
bool failed_with(const Result<T>& result, CryptoError code) {
  return !result && is(result.error(), code);
}

}  // namespace bellhop::crypto

#define BH_SKIP_WITHOUT(data) \
  if (!(data)) GTEST_SKIP() << "BELLHOP_TEST_DATA names no folder with this file"
