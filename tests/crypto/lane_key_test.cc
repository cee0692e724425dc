// SPDX-License-Identifier: Apache-2.0
#include "crypto/lane_key.h"

#include <gtest/gtest.h>

#include "crypto/boringssl.h"
#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/crypto/lanes_fixture.h"

#include <openssl/bn.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

using lanes::kDigitBits;
using lanes::kLanes;
using lanes::Row;
using Number = bssl::UniquePtr<BIGNUM>;

constexpr size_t kLane = 5;
constexpr uint64_t kUntouched = 0x7777777777777777;

Number number_of(std::span<const Row> rows) {
  Number sum(BN_new());
  for (size_t i = rows.size(); i-- > 0;) {
    EXPECT_LT(rows[i].lane[kLane], uint64_t{1} << kDigitBits);
    BN_lshift(sum.get(), sum.get(), kDigitBits);
    Number digit(BN_new());
    BN_set_u64(digit.get(), rows[i].lane[kLane]);
    BN_add(sum.get(), sum.get(), digit.get());
  }
  return sum;
}

Number exponent_of(std::span<const Row> rows) {
  Number sum(BN_new());
  for (size_t i = rows.size(); i-- > 0;) {
    Number word(BN_new());
    BN_set_u64(word.get(), rows[i].lane[kLane]);
    BN_lshift(sum.get(), sum.get(), 64);
    BN_add(sum.get(), sum.get(), word.get());
  }
  return sum;
}

// 2^exponent * factor mod n, by division.
Number scaled(const BIGNUM* factor, size_t exponent, const BIGNUM* n) {
  bssl::UniquePtr<BN_CTX> scratch(BN_CTX_new());
  Number out(BN_new());
  BN_lshift(out.get(), factor, static_cast<int>(exponent));
  BN_nnmod(out.get(), out.get(), n, scratch.get());
  return out;
}

bool is_minus_inverse(const Row& k, const Row& n) {
  return ((k.lane[kLane] * n.lane[kLane] + 1) & ((uint64_t{1} << kDigitBits) - 1)) == 0 &&
         k.lane[kLane] >> kDigitBits == 0;
}

template <size_t Half>
void check_key(const ConvertedKey& key, const std::string& name) {
  SCOPED_TRACE(name);
  using Space = lanes::Workspace<Half>;
  auto owned = make_space<Half>();
  Space& space = *owned;
  std::memset(static_cast<void*>(&space), 0x77, sizeof space);
  ASSERT_EQ(key.lanes().half(), Half);
  key.lanes().write_to(space, kLane);

  const RSA* rsa = key.rsa();
  const BIGNUM *n = RSA_get0_n(rsa), *p = RSA_get0_p(rsa), *q = RSA_get0_q(rsa);
  const size_t radix = kDigitBits * Half;
  EXPECT_EQ(BN_cmp(number_of(space.p).get(), p), 0);
  EXPECT_EQ(BN_cmp(number_of(space.q).get(), q), 0);
  EXPECT_EQ(BN_cmp(number_of(space.n).get(), n), 0);
  EXPECT_EQ(BN_cmp(number_of(space.r2p).get(), scaled(BN_value_one(), 2 * radix, p).get()), 0);
  EXPECT_EQ(BN_cmp(number_of(space.r2q).get(), scaled(BN_value_one(), 2 * radix, q).get()), 0);
  const size_t check = ((size_t{1} << 17) + 1) * radix;
  EXPECT_EQ(BN_cmp(number_of(space.checkp).get(), scaled(BN_value_one(), check, p).get()), 0);
  EXPECT_EQ(BN_cmp(number_of(space.checkq).get(), scaled(BN_value_one(), check, q).get()), 0);
  EXPECT_EQ(BN_cmp(number_of(space.qinv).get(), scaled(RSA_get0_iqmp(rsa), radix, p).get()), 0);
  EXPECT_TRUE(is_minus_inverse(space.k0p, space.p[0]));
  EXPECT_TRUE(is_minus_inverse(space.k0q, space.q[0]));
  EXPECT_EQ(BN_cmp(exponent_of(space.dp).get(), RSA_get0_dmp1(rsa)), 0);
  EXPECT_EQ(BN_cmp(exponent_of(space.dq).get(), RSA_get0_dmq1(rsa)), 0);

  // Its own lane, its own part, and nothing else.
  for (size_t i = 0; i < Half; ++i) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (lane != kLane) ASSERT_EQ(space.p[i].lane[lane], kUntouched);
      if (lane != kLane) ASSERT_EQ(space.qinv[i].lane[lane], kUntouched);
      ASSERT_EQ(space.c[i].lane[lane], kUntouched);
      ASSERT_EQ(space.m[i].lane[lane], kUntouched);
    }
  }
  for (const Row& row : space.dp) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (lane != kLane) ASSERT_EQ(row.lane[lane], kUntouched);
    }
  }
}

TEST(LaneKey, HoldsTheNumbersThatBoringSslComputes) {
  for (size_t i = 0; i < 8; ++i) check_key<lanes::kHalf2048>(converted_keys(2048)[i], test_keys(2048)[i].name);
  for (size_t i = 0; i < 4; ++i) check_key<lanes::kHalf3072>(converted_keys(3072)[i], test_keys(3072)[i].name);
}

TEST(LaneKey, IsMadeOnceAndCountsItsMemory) {
  const ConvertedKey key(test_key().clone());
  const size_t before = key.memory_bytes();
  const LaneKey* lanes = &key.lanes();
  EXPECT_EQ(&key.lanes(), lanes);
  EXPECT_EQ(lanes->memory_bytes(), LaneKey::memory_bytes(lanes::kHalf2048));
  EXPECT_GE(key.memory_bytes(), before + sizeof(LaneKey) + lanes->memory_bytes());
  EXPECT_EQ(LaneKey::memory_bytes(lanes::kHalf2048), (9 * 20 + 2 + 2 * 16) * 8u);
  EXPECT_EQ(LaneKey::memory_bytes(lanes::kHalf3072), (9 * 30 + 2 + 2 * 24) * 8u);
}

TEST(LaneDigits, RoundTripAtEverySizeInEveryLane) {
  std::vector<Row> rows(2 * lanes::kHalf3072);
  for (size_t size = 0; size * 8 <= rows.size() * kDigitBits; ++size) {
    for (size_t row_count = (size * 8 + kDigitBits - 1) / kDigitBits; row_count <= rows.size(); row_count += 7) {
      const size_t lane = (size + row_count) % kLanes;
      for (Row& row : rows) {
        for (uint64_t& digit : row.lane) digit = kUntouched;
      }
      std::vector<uint8_t> bytes(size), again(size);
      random_bytes(bytes);
      if (size % 3 == 0) std::ranges::fill(bytes, 0xff);
      const std::span part = std::span(rows).first(row_count);
      write_digits(part, lane, bytes);
      read_digits(part, lane, again);
      ASSERT_EQ(again, bytes) << size << " bytes in " << row_count << " rows";
      for (size_t i = 0; i < rows.size(); ++i) {
        for (size_t other = 0; other < kLanes; ++other) {
          const bool written = other == lane && i < row_count;
          if (written) ASSERT_LT(rows[i].lane[other], uint64_t{1} << kDigitBits);
          if (!written) ASSERT_EQ(rows[i].lane[other], kUntouched);
        }
      }
    }
  }
}

TEST(LaneDigits, AreTheNumbersDigits) {
  std::vector<Row> rows(2 * lanes::kHalf3072);
  for (size_t size : {size_t{1}, size_t{6}, size_t{7}, size_t{13}, size_t{128}, size_t{192}, size_t{256}, size_t{384}}) {
    std::vector<uint8_t> bytes(size);
    random_bytes(bytes);
    write_digits(rows, kLane, bytes);
    const Number expected(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
    EXPECT_EQ(BN_cmp(number_of(rows).get(), expected.get()), 0) << size;
  }
}

}  // namespace
}  // namespace bellhop::crypto
