// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/base/time.h"
#include "crypto/rsa.h"

namespace bellhop::crypto {

inline constexpr size_t kBenchKeys = 8;

// Eight pairs of one size, made when first asked for: takes two seconds for 2048 bits, eight for 3072.
const std::vector<RsaPrivateKey>& bench_keys(unsigned bits);

// Random bytes as a ciphertext below every modulus of this size.
std::vector<uint8_t> random_ciphertext(unsigned bits);

// CPU time of the calling thread.
Instant thread_cpu_now();

}  // namespace bellhop::crypto
