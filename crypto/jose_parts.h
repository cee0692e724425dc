// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "crypto/error.h"
#include "crypto/jose.h"

namespace bellhop::crypto {

// What JWE and JWT share. Internal to crypto/.

// Splits "a.b.c" into exactly N parts. Errors: malformed.
template <size_t N>
Result<std::array<std::string_view, N>> split_compact(std::string_view text) {
  std::array<std::string_view, N> parts;
  for (size_t i = 0; i < N; ++i) {
    const size_t dot = text.find('.');
    const bool last = i + 1 == N;
    if (last != (dot == std::string_view::npos)) return fail(crypto_error(CryptoError::malformed));
    parts[i] = text.substr(0, dot);
    if (!last) text.remove_prefix(dot + 1);
  }
  return parts;
}

// Decodes and reads a base64url part as a flat JSON object. Errors: malformed.
inline Result<FlatJson> read_jose_part(std::string_view encoded, size_t bytes_max) {
  if (encoded.size() > base64url_size(bytes_max)) return fail(crypto_error(CryptoError::malformed));
  const auto json = from_base64url(encoded);
  if (!json) return fail(crypto_error(CryptoError::malformed));
  return FlatJson::parse(as_text(*json), {.bytes_max = bytes_max});
}
inline Result<FlatJson> read_jose_header(std::string_view encoded) {
  return read_jose_part(encoded, kJoseHeaderBytesMax);
}

}  // namespace bellhop::crypto
