// SPDX-License-Identifier: Apache-2.0
#include "crypto/random.h"

#include "core/io.h"

namespace bellhop::crypto {

void random_bytes(MutableBytes out) { io::random(out); }

Secret random_secret(size_t size) {
  Secret secret = Secret::of_size(size);
  random_bytes(secret.reveal_mutable());
  return secret;
}

}  // namespace bellhop::crypto
