// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/base/bytes.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// Fills `out` from the cryptographic random source. The only place where our own code draws randomness for keys,
// nonces, seeds and tokens. Never fails: a system without a random source aborts.
void random_bytes(MutableBytes out);
Secret random_secret(size_t size);

}  // namespace bellhop::crypto
