// SPDX-License-Identifier: Apache-2.0
#include "tests/crypto/lanes_fixture.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/random.h"
#include "crypto/rsa_engine.h"
#include "tests/crypto/crypto_fixture.h"

#include <openssl/bn.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

using Number = bssl::UniquePtr<BIGNUM>;

// Sums and products of BIGNUMs without their ceremony.
class Calculator {
 public:
  Number number(uint64_t value) const {
    Number out(BN_new());
    BH_CHECK(BN_set_u64(out.get(), value) == 1);
    return out;
  }
  Number power_of_two(size_t exponent) const {
    Number out = number(0);
    BH_CHECK(BN_set_bit(out.get(), static_cast<int>(exponent)) == 1);
    return out;
  }
  Number less(const BIGNUM* a, const BIGNUM* b) const {
    Number out(BN_new());
    BH_CHECK(BN_sub(out.get(), a, b) == 1);
    return out;
  }
  Number sum(const BIGNUM* a, const BIGNUM* b) const {
    Number out(BN_new());
    BH_CHECK(BN_add(out.get(), a, b) == 1);
    return out;
  }
  Number product(const BIGNUM* a, const BIGNUM* b) const {
    Number out(BN_new());
    BH_CHECK(BN_mul(out.get(), a, b, scratch_.get()) == 1);
    return out;
  }
  Number remainder(const BIGNUM* a, const BIGNUM* n) const {
    Number out(BN_new());
    BH_CHECK(BN_nnmod(out.get(), a, n, scratch_.get()) == 1);
    return out;
  }
  Number below(const BIGNUM* limit) const {
    Number out(BN_new());
    BH_CHECK(BN_rand_range(out.get(), limit) == 1);
    return out;
  }

 private:
  bssl::UniquePtr<BN_CTX> scratch_{BN_CTX_new()};
};

std::vector<uint8_t> bytes_of(const BIGNUM* number, size_t size) {
  std::vector<uint8_t> bytes(size);
  BH_CHECK(BN_bn2bin_padded(bytes.data(), size, number) == 1);
  return bytes;
}

// The number that is x modulo p and y modulo q, below n.
Number number_of_residues(const Calculator& calculate, const ConvertedKey& key, const BIGNUM* x, const BIGNUM* y) {
  const RSA* rsa = key.rsa();
  const Number difference = calculate.less(x, y);
  const Number scaled = calculate.product(difference.get(), RSA_get0_iqmp(rsa));
  const Number multiple = calculate.remainder(scaled.get(), RSA_get0_p(rsa));
  const Number rest = calculate.product(multiple.get(), RSA_get0_q(rsa));
  return calculate.sum(y, rest.get());
}

std::vector<ConvertedKey> convert(unsigned bits) {
  std::vector<ConvertedKey> keys;
  for (const TestKey& kept : test_keys(bits)) keys.emplace_back(kept.key.clone());
  return keys;
}

}  // namespace

std::vector<const lanes::Kernel*> all_kernels() {
  std::vector<const lanes::Kernel*> kernels = available_kernels();
  kernels.insert(kernels.begin(), &lanes::kPortableKernel);
  return kernels;
}

bool is_fast(const lanes::Kernel& kernel) { return &kernel != &lanes::kPortableKernel; }

std::span<const ConvertedKey> converted_keys(unsigned bits) {
  static const auto& keys_2048 = *new std::vector<ConvertedKey>(convert(2048));
  if (bits == 2048) return keys_2048;
  static const auto& keys_3072 = *new std::vector<ConvertedKey>(convert(3072));
  return keys_3072;
}

std::vector<uint8_t> boringssl_result(const ConvertedKey& key, Bytes ciphertext) {
  std::vector<uint8_t> out(key.modulus_bytes());
  size_t size = 0;
  BH_CHECK(RSA_decrypt(key.rsa(), &size, out.data(), out.size(), ciphertext.data(), ciphertext.size(),
                       RSA_NO_PADDING) == 1);
  return out;
}

std::vector<uint8_t> boringssl_public(const ConvertedKey& key, Bytes message) {
  std::vector<uint8_t> out(key.modulus_bytes());
  size_t size = 0;
  BH_CHECK(RSA_encrypt(key.rsa(), &size, out.data(), out.size(), message.data(), message.size(), RSA_NO_PADDING) == 1);
  return out;
}

std::vector<uint8_t> random_below_modulus(const ConvertedKey& key) {
  const Bytes modulus = key.key().public_key().modulus();
  for (;;) {
    const Secret random = random_secret(modulus.size());
    const Bytes bytes = random.reveal();
    if (std::ranges::lexicographical_compare(bytes, modulus)) return {bytes.begin(), bytes.end()};
  }
}

std::vector<uint8_t> zero_modulo_p_and_minus_one_modulo_q(const ConvertedKey& key) {
  const Calculator calculate;
  const Number zero = calculate.number(0), one = calculate.number(1);
  const Number last = calculate.less(RSA_get0_q(key.rsa()), one.get());
  return bytes_of(number_of_residues(calculate, key, zero.get(), last.get()).get(), key.modulus_bytes());
}

std::vector<std::vector<uint8_t>> crafted_ciphertexts(const ConvertedKey& key) {
  const Calculator calculate;
  const BIGNUM *n = RSA_get0_n(key.rsa()), *p = RSA_get0_p(key.rsa()), *q = RSA_get0_q(key.rsa());
  const Number zero = calculate.number(0), one = calculate.number(1);
  std::vector<Number> numbers;
  auto with_residues = [&](const BIGNUM* x, const BIGNUM* y) { return number_of_residues(calculate, key, x, y); };
  for (uint64_t small : {0, 1, 2, 3}) numbers.push_back(calculate.number(small));
  for (uint64_t small : {1, 2}) numbers.push_back(calculate.less(n, calculate.number(small).get()));
  for (const BIGNUM* prime : {p, q}) {
    const BIGNUM* other = prime == p ? q : p;
    numbers.push_back(calculate.sum(prime, zero.get()));
    numbers.push_back(calculate.less(prime, one.get()));
    numbers.push_back(calculate.sum(prime, one.get()));
    numbers.push_back(calculate.less(n, prime));
    for (int i = 0; i < 2; ++i) numbers.push_back(calculate.product(prime, calculate.below(other).get()));
  }
  const Number last_p = calculate.less(p, one.get()), last_q = calculate.less(q, one.get());
  for (const BIGNUM* x : {zero.get(), one.get(), last_p.get()}) {
    for (const BIGNUM* y : {zero.get(), one.get(), last_q.get()}) numbers.push_back(with_residues(x, y));
    numbers.push_back(with_residues(x, calculate.below(q).get()));
  }
  for (const BIGNUM* y : {zero.get(), one.get(), last_q.get()}) {
    numbers.push_back(with_residues(calculate.below(p).get(), y));
  }
  const size_t bits = BN_num_bits(n), half = bits / 2;
  for (size_t at : {size_t{52}, size_t{104}, half - half % 52, half, half + 52 - half % 52, bits - bits % 52 - 52,
                    bits - bits % 52, bits - 1}) {
    Number power = calculate.power_of_two(at);
    numbers.push_back(calculate.less(power.get(), one.get()));
    numbers.push_back(calculate.sum(power.get(), one.get()));
    numbers.push_back(std::move(power));
  }
  // All ones but for one digit, which is zero.
  for (size_t at : {size_t{0}, size_t{52}, half - half % 52, bits - 2 * 52}) {
    const Number ones = calculate.less(calculate.power_of_two(bits - 1).get(), one.get());
    const Number above = calculate.power_of_two(at + 52 < bits - 1 ? at + 52 : bits - 1);
    const Number digit = calculate.less(above.get(), calculate.power_of_two(at).get());
    numbers.push_back(calculate.less(ones.get(), digit.get()));
  }
  std::vector<std::vector<uint8_t>> ciphertexts;
  for (const Number& number : numbers) {
    const Number reduced = calculate.remainder(number.get(), n);
    ciphertexts.push_back(bytes_of(reduced.get(), key.modulus_bytes()));
  }
  const size_t direct = ciphertexts.size();
  for (size_t i = 0; i < direct; ++i) ciphertexts.push_back(boringssl_public(key, ciphertexts[i]));
  return ciphertexts;
}

}  // namespace bellhop::crypto
