// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "crypto/rsa.h"

namespace bellhop::crypto {

// Raw RSA private-key operations, several at a time. One per core; synchronous; holds no secret between calls.
class RsaEngine {
 public:
  struct Request {
    const ConvertedKey* key = nullptr;
    Bytes ciphertext;  // must have key->modulus_bytes() bytes, else the request fails
    Secret encoded;    // out: ciphertext^d mod n, modulus_bytes() bytes; empty where it failed
  };

  virtual ~RsaEngine() = default;
  // Runs all requests. Keys may differ or repeat. Each result was verified with the public exponent, so that a fault in
  // the CRT never leaves the engine. Failure of a request (length, range, verification): `encoded` stays empty.
  virtual void run(std::span<Request* const> requests) = 0;
  // How many requests one call takes best.
  virtual size_t batch_max() const = 0;
  virtual std::string_view name() const = 0;
};

// BoringSSL, one request after the other, about 0.75 ms each for 2048 bits.
std::unique_ptr<RsaEngine> make_scalar_engine();

// One decryption at once, without queue: RSAES-OAEP (RFC 8017 section 7.1.2). Errors: decrypt_failed.
Result<Secret> rsa_decrypt_oaep(RsaEngine& engine, const ConvertedKey& key, Bytes ciphertext, Bytes label,
                                OaepHashes hashes = {});

}  // namespace bellhop::crypto
