// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "crypto/rsa_lanes.h"
#include "crypto/secret.h"

namespace bellhop::crypto {

// The numbers of one private key as the lanes take them: radix 2^52, with the Montgomery constants. Made once per key
// without a division; wiped on destruction. Immutable.
class LaneKey {
 public:
  // Views of big-endian numbers. n has 2,048 or 3,072 bits; p, q, dp, dq and qinv have half of its bytes, and the top
  // bits of p and q are set. Numbers that are no key give a key whose results are never good; see lanes::Kernel.
  struct Numbers {
    Bytes n, p, q, dp, dq, qinv;
  };
  explicit LaneKey(const Numbers& numbers);

  // Digits of a prime: lanes::kHalf2048 or lanes::kHalf3072.
  size_t half() const { return half_; }
  size_t memory_bytes() const { return words_.size(); }
  // What a key of this size takes, in bytes.
  static size_t memory_bytes(size_t half);

  // Puts the key into lane `lane` of a workspace of its size.
  template <size_t Half>
  void write_to(lanes::Workspace<Half>& workspace, size_t lane) const;

 private:
  std::span<const uint64_t> words() const;

  size_t half_;
  Secret words_;  // 64-bit words, in the order of lanes::Workspace; then the windows, a byte each
};

// Puts the big-endian number `bytes` (of at most 52 * rows.size() bits) into one lane.
void write_digits(std::span<lanes::Row> rows, size_t lane, Bytes bytes);
// The reverse: the number of one lane, as big-endian `bytes`.
void read_digits(std::span<const lanes::Row> rows, size_t lane, MutableBytes bytes);

}  // namespace bellhop::crypto
