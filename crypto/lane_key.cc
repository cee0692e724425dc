// SPDX-License-Identifier: Apache-2.0
#include "crypto/lane_key.h"

#include <algorithm>
#include <cstring>

#include "core/base/check.h"

namespace bellhop::crypto {
namespace {

using lanes::kDigitBits;

constexpr uint64_t kDigitMask = (uint64_t{1} << kDigitBits) - 1;
using Digits = std::span<uint64_t>;
using ConstDigits = std::span<const uint64_t>;

// Bits [at, at + count) of a big-endian number; what lies beyond it is zero. `at` and `count` are public; at % 8 + count is at
// most 64, and count at least 1.
uint64_t bits_of(Bytes number, size_t at, unsigned count) {
  const uint64_t mask = ~uint64_t{0} >> (64 - count);
  if (at / 8 + sizeof(uint64_t) <= number.size()) {  // what is needed lies in eight bytes
    uint64_t word;
    std::memcpy(&word, number.data() + number.size() - at / 8 - sizeof word, sizeof word);
    return (__builtin_bswap64(word) >> (at % 8)) & mask;
  }
  uint64_t bits = 0;
  unsigned shift = 0;
  for (size_t byte = at / 8; byte * 8 < at + count && byte < number.size(); ++byte, shift += 8) {
    const uint64_t value = number[number.size() - 1 - byte];
    bits |= shift == 0 ? value >> (at % 8) : value << (shift - at % 8);
  }
  return bits & mask;
}

void to_digits(Digits out, Bytes number) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = bits_of(number, i * kDigitBits, kDigitBits);
}

// -n^-1 mod 2^52: each step doubles the bits that are right (Newton). n is odd.
uint64_t negative_inverse(uint64_t n) {
  uint64_t inverse = n;  // right for three bits
  for (int i = 0; i < 5; ++i) inverse *= 2 - n * inverse;
  return (0 - inverse) & kDigitMask;
}

// Arithmetic modulo one odd n whose top bit is `bits` - 1, in digits. Constant time: branches and addresses depend on
// sizes alone. R = 2^(52 * digits).
class Modulus {
 public:
  Modulus(ConstDigits n, size_t bits, uint64_t k) : n_(n), bits_(bits), k_(k), sum_(n.size()), less_(n.size()) {}

  // x -= n where that is not negative.
  void subtract_if_not_below(Digits x) {
    int64_t borrow = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t difference = static_cast<int64_t>(x[i]) - static_cast<int64_t>(n_[i]) + borrow;
      less_[i] = static_cast<uint64_t>(difference) & kDigitMask;
      borrow = difference >> kDigitBits;
    }
    uint64_t keep = static_cast<uint64_t>(borrow);  // all ones where x is below n
    asm("" : "+r"(keep));
    for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] & keep) | (less_[i] & ~keep);
  }

  // x = 2 x, for x below n.
  void double_in_place(Digits x) {
    uint64_t carry = 0;
    for (uint64_t& digit : x) {
      const uint64_t doubled = 2 * digit + carry;
      digit = doubled & kDigitMask;
      carry = doubled >> kDigitBits;
    }
    subtract_if_not_below(x);
  }

  // out = a * b / R. `out` may be an input. As in the lanes, the halves of the products go to two sums and carries are
  // taken at the end: a carry from digit to digit would be what everything waits for. Sums stay below 4 * 60 * 2^52.
  void multiply(Digits out, ConstDigits a, ConstDigits b) {
    using Wide = unsigned __int128;
    const auto low = [](Wide product) { return static_cast<uint64_t>(product) & kDigitMask; };
    const auto high = [](Wide product) { return static_cast<uint64_t>(product >> kDigitBits); };
    const size_t size = n_.size();
    std::ranges::fill(sum_, 0);
    for (size_t i = 0; i < size; ++i) {
      const uint64_t factor = b[i];
      Wide ab = Wide{a[0]} * factor;
      const uint64_t first = sum_[0] + low(ab);
      const uint64_t multiple = (first * k_) & kDigitMask;
      Wide mn = Wide{n_[0]} * multiple;
      uint64_t highs = high(ab) + high(mn) + ((first + low(mn)) >> kDigitBits);
      for (size_t j = 1; j < size; ++j) {
        ab = Wide{a[j]} * factor;
        mn = Wide{n_[j]} * multiple;
        sum_[j - 1] = sum_[j] + highs + low(ab) + low(mn);
        highs = high(ab) + high(mn);
      }
      sum_[size - 1] = highs;
    }
    uint64_t carry = 0;
    for (size_t j = 0; j < size; ++j) {
      carry += sum_[j];
      out[j] = carry & kDigitMask;
      carry >>= kDigitBits;
    }
    subtract_if_not_below(out);  // it is below 2 n
  }

  // out = R^2. 2^bits - n is 2^bits modulo n; doubled, it becomes R, then 2^e R; and each squaring (in Montgomery's form)
  // doubles e, until it is the exponent of R.
  void square_of_radix(Digits out) {
    const size_t radix_bits = out.size() * kDigitBits;
    int64_t borrow = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t at = i * kDigitBits;
      const int64_t power = bits_ >= at && bits_ < at + kDigitBits ? int64_t{1} << (bits_ - at) : 0;
      const int64_t difference = power - static_cast<int64_t>(n_[i]) + borrow;
      out[i] = static_cast<uint64_t>(difference) & kDigitMask;
      borrow = difference >> kDigitBits;
    }
    size_t exponent = radix_bits;
    unsigned squarings = 0;
    for (; exponent % 2 == 0; exponent /= 2) ++squarings;
    for (size_t i = 0; i < radix_bits - bits_ + exponent; ++i) double_in_place(out);
    for (unsigned i = 0; i < squarings; ++i) multiply(out, out, out);
  }

  // out = R^(2^17 + 1), of `r2` = R^2: that is R in Montgomery's form, to be squared 17 times.
  void check_of(Digits out, ConstDigits r2) {
    multiply(out, r2, r2);
    for (int i = 1; i < 17; ++i) multiply(out, out, out);
  }

 private:
  ConstDigits n_;
  size_t bits_;
  uint64_t k_;
  WipingVector<uint64_t> sum_, less_;
};

constexpr size_t words_of(size_t half) { return 7 * half + 2 * half + 2 + 2 * lanes::exponent_rows(half); }

}  // namespace

size_t LaneKey::memory_bytes(size_t half) { return words_of(half) * sizeof(uint64_t); }

std::span<const uint64_t> LaneKey::words() const {
  return {reinterpret_cast<const uint64_t*>(words_.reveal().data()), words_of(half_)};
}

LaneKey::LaneKey(const Numbers& numbers)
    : half_(numbers.n.size() == 256 ? lanes::kHalf2048 : lanes::kHalf3072),
      words_(Secret::of_size(memory_bytes(half_))) {
  BH_CHECK(numbers.n.size() * 4 == lanes::prime_bits(half_));
  const size_t full = 2 * half_, bits = lanes::prime_bits(half_);
  Digits rest(reinterpret_cast<uint64_t*>(words_.reveal_mutable().data()), words_of(half_));
  auto take = [&rest](size_t size) {
    Digits part = rest.first(size);
    rest = rest.subspan(size);
    return part;
  };
  const Digits p = take(half_), q = take(half_), r2p = take(half_), r2q = take(half_);
  const Digits check_p = take(half_), check_q = take(half_), qinv = take(half_);
  const Digits n = take(full), k = take(2);
  const Digits dp = take(lanes::exponent_rows(half_)), dq = take(lanes::exponent_rows(half_));
  to_digits(p, numbers.p);
  to_digits(q, numbers.q);
  to_digits(qinv, numbers.qinv);
  to_digits(n, numbers.n);
  k[0] = negative_inverse(p[0]);
  k[1] = negative_inverse(q[0]);
  Modulus modulo_p(p, bits, k[0]);
  modulo_p.square_of_radix(r2p);
  modulo_p.check_of(check_p, r2p);
  modulo_p.multiply(qinv, qinv, r2p);  // into Montgomery's form
  Modulus modulo_q(q, bits, k[1]);
  modulo_q.square_of_radix(r2q);
  modulo_q.check_of(check_q, r2q);
  for (size_t i = 0; i < dp.size(); ++i) {
    dp[i] = bits_of(numbers.dp, i * 64, 64);
    dq[i] = bits_of(numbers.dq, i * 64, 64);
  }
}

template <size_t Half>
void LaneKey::write_to(lanes::Workspace<Half>& workspace, size_t lane) const {
  BH_CHECK(half_ == Half && lane < lanes::kLanes);
  const uint64_t* word = words().data();
  auto put = [&](std::span<lanes::Row> rows) {
    for (lanes::Row& row : rows) row.lane[lane] = *word++;
  };
  put(workspace.p), put(workspace.q), put(workspace.r2p), put(workspace.r2q);
  put(workspace.checkp), put(workspace.checkq), put(workspace.qinv), put(workspace.n);
  put({&workspace.k0p, 1}), put({&workspace.k0q, 1});
  put(workspace.dp), put(workspace.dq);
}
template void LaneKey::write_to(lanes::Workspace2048&, size_t) const;
template void LaneKey::write_to(lanes::Workspace3072&, size_t) const;

void write_digits(std::span<lanes::Row> rows, size_t lane, Bytes bytes) {
  for (size_t i = 0; i < rows.size(); ++i) rows[i].lane[lane] = bits_of(bytes, i * kDigitBits, kDigitBits);
}

void read_digits(std::span<const lanes::Row> rows, size_t lane, MutableBytes bytes) {
  const auto digit = [&](size_t row) { return row < rows.size() ? rows[row].lane[lane] : 0; };
  for (size_t end = bytes.size(); end > 0;) {  // eight bytes, the lowest first: of two digits or three
    const size_t at = (bytes.size() - end) * 8, row = at / kDigitBits, shift = at % kDigitBits;
    uint64_t word = digit(row) >> shift | digit(row + 1) << (kDigitBits - shift);
    if (2 * kDigitBits - shift < 64) word |= digit(row + 2) << (2 * kDigitBits - shift);
    word = __builtin_bswap64(word);
    const size_t size = std::min(end, sizeof word);
    end -= size;
    std::memcpy(&bytes[end], reinterpret_cast<const uint8_t*>(&word) + sizeof word - size, size);
  }
}

}  // namespace bellhop::crypto
