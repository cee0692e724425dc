// SPDX-License-Identifier: Apache-2.0
#include "bench/crypto/bench_keys.h"

#include <ctime>

#include "core/base/check.h"
#include "crypto/random.h"

namespace bellhop::crypto {

const std::vector<RsaPrivateKey>& bench_keys(unsigned bits) {
  static std::vector<RsaPrivateKey> keys_2048, keys_3072;
  std::vector<RsaPrivateKey>& keys = bits == 2048 ? keys_2048 : keys_3072;
  while (keys.size() < kBenchKeys) {
    auto key = RsaPrivateKey::generate(bits);
    BH_CHECK(key);
    keys.push_back(*std::move(key));
  }
  return keys;
}

std::vector<uint8_t> random_ciphertext(unsigned bits) {
  std::vector<uint8_t> ciphertext(bits / 8);
  random_bytes(ciphertext);
  ciphertext[0] &= 0x7f;  // the top bit of each modulus is set
  return ciphertext;
}

Instant thread_cpu_now() {
  timespec now{};
  BH_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return Instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

}  // namespace bellhop::crypto
