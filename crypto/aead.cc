// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"

#include <openssl/aead.h>
#include <openssl/err.h>

namespace bellhop::crypto {
namespace {

// A context on the stack, wiped when it goes: it holds the expanded key.
struct Context {
  explicit Context(Bytes key) {
    BH_CHECK(key.size() == kAeadKeyBytes);
    BH_CHECK(EVP_AEAD_CTX_init(&state, EVP_aead_aes_256_gcm(), key.data(), key.size(), kAeadTagBytes, nullptr) == 1);
  }
  ~Context() {
    EVP_AEAD_CTX_cleanup(&state);
    wipe(&state, sizeof state);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  EVP_AEAD_CTX state;
};

}  // namespace

std::vector<uint8_t> aead_seal(Bytes key, Bytes nonce, Bytes associated_data, Bytes plaintext) {
  BH_CHECK(nonce.size() == kAeadNonceBytes);
  Context context(key);
  std::vector<uint8_t> sealed(plaintext.size() + kAeadTagBytes);
  size_t size = 0;
  BH_CHECK(EVP_AEAD_CTX_seal(&context.state, sealed.data(), &size, sealed.size(), nonce.data(), nonce.size(),
                             plaintext.data(), plaintext.size(), associated_data.data(), associated_data.size()) == 1);
  BH_CHECK(size == sealed.size());
  return sealed;
}

Result<Secret> aead_open(Bytes key, Bytes nonce, Bytes associated_data, Bytes sealed) {
  BH_CHECK(nonce.size() == kAeadNonceBytes);
  if (sealed.size() < kAeadTagBytes) return fail(crypto_error(CryptoError::decrypt_failed));
  Context context(key);
  const size_t plaintext_size = sealed.size() - kAeadTagBytes;
  // Room for one byte at least: BoringSSL wants an address even for an empty plaintext.
  Secret plaintext = Secret::of_size(plaintext_size + 1);
  size_t size = 0;
  const int opened =
      EVP_AEAD_CTX_open(&context.state, plaintext.reveal_mutable().data(), &size, plaintext_size, nonce.data(),
                        nonce.size(), sealed.data(), sealed.size(), associated_data.data(), associated_data.size());
  if (!opened) {
    ERR_clear_error();
    return fail(crypto_error(CryptoError::decrypt_failed));
  }
  BH_CHECK(size == plaintext_size);
  plaintext.truncate(size);
  return plaintext;
}

}  // namespace bellhop::crypto
