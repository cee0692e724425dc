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
  // What the engine did since it was made.
  struct Stats {
    uint64_t scalar_total = 0;  // operations by BoringSSL, one at a time
    uint64_t vector_total = 0;  // operations in a lane of a vector
    uint64_t faults_total = 0;  // results of lanes that the public exponent disproved; BoringSSL was asked instead
  };

  // Runs all requests. Keys may differ or repeat. Each result was verified with the public exponent, so that a fault in
  // the CRT never leaves the engine. Failure of a request (length, range, verification): `encoded` stays empty.
  virtual void run(std::span<Request* const> requests) = 0;
  // How many of `waiting` requests (at least 1) with keys of `bits` one call should get: several only where that is faster
  // than one by one.
  virtual size_t batch_of(unsigned bits, size_t waiting) const = 0;
  virtual std::string_view name() const = 0;
  virtual Stats stats() const = 0;
};

// BoringSSL, one request after the other, about 0.75 ms each for 2048 bits.
std::unique_ptr<RsaEngine> make_scalar_engine();

// One decryption at once, without queue: RSAES-OAEP (RFC 8017 section 7.1.2). Errors: decrypt_failed.
Result<Secret> rsa_decrypt_oaep(RsaEngine& engine, const ConvertedKey& key, Bytes ciphertext, Bytes label,
                                OaepHashes hashes = {});

}  // namespace bellhop::crypto
