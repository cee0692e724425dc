// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa_engine.h"

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

class ScalarEngine final : public RsaEngine {
 public:
  void run(std::span<Request* const> requests) override {
    for (Request* request : requests) run_one(*request);
  }
  size_t batch_of(unsigned, size_t) const override { return 1; }
  std::string_view name() const override { return "boringssl"; }
  Stats stats() const override { return stats_; }

 private:
  // BoringSSL blinds the input and checks the CRT result with the public exponent itself; it refuses an input that is
  // not smaller than the modulus.
  void run_one(Request& request) {
    BH_CHECK(request.key != nullptr);
    request.encoded.clear();
    const size_t modulus_bytes = request.key->modulus_bytes();
    if (request.ciphertext.size() != modulus_bytes) return;
    ++stats_.scalar_total;
    Secret encoded = Secret::of_size(modulus_bytes);
    size_t size = 0;
    if (RSA_decrypt(request.key->rsa(), &size, encoded.reveal_mutable().data(), modulus_bytes,
                    request.ciphertext.data(), request.ciphertext.size(), RSA_NO_PADDING) != 1) {
      ERR_clear_error();
      return;
    }
    BH_CHECK(size == modulus_bytes);
    request.encoded = std::move(encoded);
  }

  Stats stats_;
};

}  // namespace

std::unique_ptr<RsaEngine> make_scalar_engine() {
  return std::make_unique<ScalarEngine>();
}

Result<Secret> rsa_decrypt_oaep(RsaEngine& engine, const ConvertedKey& key, Bytes ciphertext, Bytes label,
                                OaepHashes hashes) {
  RsaEngine::Request request{.key = &key, .ciphertext = ciphertext, .encoded = {}};
  RsaEngine::Request* const requests[] = {&request};
  engine.run(requests);
  if (request.encoded.empty()) return fail(crypto_error(CryptoError::decrypt_failed));
  return oaep_decode(request.encoded.reveal(), label, hashes);
}

}  // namespace bellhop::crypto
