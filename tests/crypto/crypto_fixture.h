// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/error.h"
#include "crypto/rsa.h"

namespace bellhop::crypto {

// RSA-2048 pairs, made when first asked for and kept: making one takes a quarter of a second.
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
