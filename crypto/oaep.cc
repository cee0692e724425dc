// SPDX-License-Identifier: Apache-2.0
#include "crypto/oaep.h"

#include <algorithm>

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/error.h"
#include "crypto/random.h"

#include <openssl/sha.h>

namespace bellhop::crypto {
namespace {

constexpr size_t kHashBytesMax = 32;

void hash_into(Hash hash, Bytes in, uint8_t* out) {
  switch (hash) {
    case Hash::sha1:
      SHA1(in.data(), in.size(), out);
      return;
    case Hash::sha256:
      SHA256(in.data(), in.size(), out);
      return;
  }
  check_failed("a known hash", __FILE__, __LINE__);
}

// target ^= MGF1(seed) (RFC 8017 appendix B.2.1). All sizes are public.
void mask_with_mgf1(MutableBytes target, Bytes seed, Hash hash) {
  Secret input = Secret::of_size(seed.size() + 4);  // seed ‖ counter
  std::copy(seed.begin(), seed.end(), input.reveal_mutable().begin());
  uint8_t block[kHashBytesMax];
  uint32_t counter = 0;
  for (size_t at = 0; at < target.size(); at += hash_bytes(hash)) {
    store_be32(input.reveal_mutable().data() + seed.size(), counter++);
    hash_into(hash, input.reveal(), block);
    const size_t size = std::min(hash_bytes(hash), target.size() - at);
    for (size_t i = 0; i < size; ++i) target[at + i] ^= block[i];
  }
  wipe(block, sizeof block);
}

// Masks are all ones for true, zero for false. The barrier keeps the compiler from turning them back into branches.
uint32_t value_barrier(uint32_t value) {
  asm("" : "+r"(value));
  return value;
}
uint32_t mask_if_zero(uint32_t value) {
  return value_barrier(uint32_t((uint64_t{value} - 1) >> 32));
}
uint32_t mask_if_equal(uint32_t a, uint32_t b) {
  return mask_if_zero(a ^ b);
}
uint8_t select(uint32_t mask, uint8_t if_set, uint8_t if_clear) {
  return static_cast<uint8_t>((mask & if_set) | (~mask & if_clear));
}

// Moves the content `distance` bytes to the front and fills with zeros; touches the same addresses for every distance.
void shift_left_constant_time(MutableBytes bytes, uint32_t distance) {
  for (size_t step = 1; step <= bytes.size(); step <<= 1) {
    const uint32_t take = ~mask_if_zero(distance & static_cast<uint32_t>(step));
    for (size_t i = 0; i < bytes.size(); ++i) {
      const uint8_t from = i + step < bytes.size() ? bytes[i + step] : 0;
      bytes[i] = select(take, from, bytes[i]);
    }
  }
}

}  // namespace

size_t hash_bytes(Hash hash) {
  switch (hash) {
    case Hash::sha1:
      return SHA_DIGEST_LENGTH;
    case Hash::sha256:
      return SHA256_DIGEST_LENGTH;
  }
  check_failed("a known hash", __FILE__, __LINE__);
}

Result<Secret> oaep_encode(Bytes message, Bytes label, size_t modulus_bytes, OaepHashes hashes) {
  const size_t h = hash_bytes(hashes.label);
  if (message.size() > oaep_capacity(modulus_bytes, h) || modulus_bytes < 2 * h + 2) {
    return fail(crypto_error(CryptoError::too_large, static_cast<uint32_t>(message.size() + 2 * h + 2)));
  }
  Secret encoded = Secret::of_size(modulus_bytes);
  const MutableBytes all = encoded.reveal_mutable();
  const MutableBytes seed = all.subspan(1, h);
  const MutableBytes block = all.subspan(1 + h);
  hash_into(hashes.label, label, block.data());
  block[block.size() - message.size() - 1] = 1;
  std::copy(message.begin(), message.end(), block.end() - static_cast<ptrdiff_t>(message.size()));
  random_bytes(seed);
  mask_with_mgf1(block, seed, hashes.mgf1);
  mask_with_mgf1(seed, block, hashes.mgf1);
  return encoded;
}

Result<Secret> oaep_decode(Bytes encoded, Bytes label, OaepHashes hashes) {
  const size_t h = hash_bytes(hashes.label);
  if (encoded.size() < 2 * h + 2) return fail(crypto_error(CryptoError::decrypt_failed));  // the size is public
  Secret copy = Secret::copy_of(encoded);
  const MutableBytes all = copy.reveal_mutable();
  const MutableBytes seed = all.subspan(1, h);
  const MutableBytes block = all.subspan(1 + h);
  mask_with_mgf1(seed, block, hashes.mgf1);
  mask_with_mgf1(block, seed, hashes.mgf1);

  uint8_t label_hash[kHashBytesMax];
  hash_into(hashes.label, label, label_hash);
  uint32_t wrong = all[0];
  for (size_t i = 0; i < h; ++i) wrong |= block[i] ^ label_hash[i];

  // After the label's hash: zeros, a one, the message. Every byte is looked at, wherever the one is.
  const MutableBytes rest = block.subspan(h);
  uint32_t found = 0, one_at = 0;
  for (size_t i = 0; i < rest.size(); ++i) {
    const uint32_t is_one = mask_if_equal(rest[i], 1);
    const uint32_t is_zero = mask_if_zero(rest[i]);
    one_at |= ~found & is_one & static_cast<uint32_t>(i);
    wrong |= ~found & ~is_one & ~is_zero;
    found |= is_one;
  }
  wrong |= ~found;

  const uint32_t good = value_barrier(mask_if_zero(wrong));
  Secret message = Secret::copy_of(rest);
  shift_left_constant_time(message.reveal_mutable(), (one_at + 1) & good);
  // The verdict becomes public here, and nowhere earlier.
  if (!good) return fail(crypto_error(CryptoError::decrypt_failed));
  message.truncate(rest.size() - one_at - 1);
  return message;
}

}  // namespace bellhop::crypto
