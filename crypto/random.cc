// SPDX-License-Identifier: Apache-2.0
#include "crypto/random.h"

#include "core/base/check.h"
#include "crypto/boringssl.h"

#include <openssl/rand.h>

namespace bellhop::crypto {

void random_bytes(MutableBytes out) {
  BH_CHECK(RAND_bytes(out.data(), out.size()) == 1);
}

Secret random_secret(size_t size) {
  Secret secret = Secret::of_size(size);
  random_bytes(secret.reveal_mutable());
  return secret;
}

}  // namespace bellhop::crypto
