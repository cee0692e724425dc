// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "crypto/lane_key.h"
#include "crypto/rsa.h"
#include "crypto/rsa_lane_engine.h"
#include "tests/crypto/portable_lanes.h"

#include <openssl/base.h>

// What the tests of the lanes share.
namespace bellhop::crypto {

// The portable kernel, then those that this CPU has.
std::vector<const lanes::Kernel*> all_kernels();
// Whether a batch takes milliseconds: tests then try more of them.
bool is_fast(const lanes::Kernel& kernel);

template <size_t Half>
uint8_t run_kernel(const lanes::Kernel& kernel, lanes::Workspace<Half>& space) {
  if constexpr (Half == lanes::kHalf2048) {
    return kernel.rsa2048(space);
  } else {
    return kernel.rsa3072(space);
  }
}

// One operation, as many as there are lanes make a batch.
struct LaneRequest {
  const ConvertedKey* key = nullptr;
  std::vector<uint8_t> ciphertext;
};
using LaneRequests = std::vector<LaneRequest>;

// Writes eight requests into the lanes of a workspace.
template <size_t Half>
void fill(lanes::Workspace<Half>& space, std::span<const LaneRequest> requests) {
  for (size_t lane = 0; lane < lanes::kLanes; ++lane) {
    requests[lane].key->lanes().write_to(space, lane);
    write_digits(space.c, lane, requests[lane].ciphertext);
  }
}

template <size_t Half>
std::vector<uint8_t> result_of(const lanes::Workspace<Half>& space, size_t lane) {
  std::vector<uint8_t> bytes(lanes::prime_bits(Half) / 4);
  read_digits(space.m, lane, bytes);
  return bytes;
}

// A workspace of zeros.
template <size_t Half>
std::unique_ptr<lanes::Workspace<Half>> make_space() {
  return std::make_unique<lanes::Workspace<Half>>();
}

// The keys of test_keys() in the form that the engines take.
std::span<const ConvertedKey> converted_keys(unsigned bits);

// c^d mod n by BoringSSL's private operation.
std::vector<uint8_t> boringssl_result(const ConvertedKey& key, Bytes ciphertext);
// m^65537 mod n by its public one. `message` is below n and as long.
std::vector<uint8_t> boringssl_public(const ConvertedKey& key, Bytes message);

// As long as the modulus, and below it.
std::vector<uint8_t> random_below_modulus(const ConvertedKey& key);

// Of such a ciphertext the result is such a number, too: no other has parts as far apart, for the public and the private
// exponent are odd.
std::vector<uint8_t> zero_modulo_p_and_minus_one_modulo_q(const ConvertedKey& key);

// Ciphertexts that look for trouble: 0, 1, n - 1; multiples of p and of q; residues of 0, 1 and -1 modulo each prime; powers
// of 2^52, their neighbours, and digits that are all ones; and those whose results are such numbers.
std::vector<std::vector<uint8_t>> crafted_ciphertexts(const ConvertedKey& key);

}  // namespace bellhop::crypto
