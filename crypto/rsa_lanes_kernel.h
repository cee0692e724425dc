// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "crypto/rsa_lanes.h"

// The arithmetic of the lanes, over an Arithmetic that says how the CPU multiplies 52-bit digits. Each file that
// includes this brings an Arithmetic of its own in an unnamed namespace, so that nothing here is shared between files
// that are compiled for different CPUs.
//
// An Arithmetic A has
//   Lanes        eight 64-bit integers, wrapping
//   Digit        eight digits below 2^52 in the form that the multiplier takes; as large as a Row
//   multiply_add(low, high, a, b)   low += a * b mod 2^52 + bias, high += a * b / 2^52 + bias, for digits a, b
//   low_digit(x, k)                 the digit x * k mod 2^52 of any integers x and a digit k
//   bias(lows, highs)               what so many lows and highs have added too much, mod 2^64
//   digit(x), integer(d)            between an integer below 2^52 and its digit
//   in_order(sum, pointer)   keeps what follows from being started before: there are registers for so much only
//   set, load, load_bytes, store, add, sub, either (or), differs (xor), low_bits (mod 2^52), carry and signed_carry
//   (/ 2^52, rounding down), select(all ones or zeros, a, b), equal -> Mask, take_if(mask, else, row), zero_lanes -> bits
namespace bellhop::crypto::lanes {

#define BELLHOP_INLINE __attribute__((always_inline)) inline

// f.operator()<I>() for each I from From to To - 1, all written out: loops that are unrolled late keep their arrays in
// memory.
template <size_t From, size_t To, class F>
BELLHOP_INLINE void each(F f) {
  if constexpr (From < To) {
    [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (f.template operator()<From + I>(), ...);
    }(std::make_index_sequence<To - From>());
  }
}

template <class A>
class Numbers {
 public:
  using Lanes = typename A::Lanes;
  using Digit = typename A::Digit;

  // Splits sums of less than 2^63 into digits.
  template <size_t N>
  static BELLHOP_INLINE void to_digits(Digit* out, const Lanes* sums) {
    Lanes carry = A::set(0);
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) {
      Lanes sum = A::add(sums[J], carry);
      carry = A::carry(sum);
      out[J] = A::digit(A::low_bits(sum));
    });
  }

  // out = a * b / 2^(52 N) mod n, below n + a * b / 2^(52 N). `k` = -n^-1 mod 2^52. `out` may be an input.
  // Row by row: the sums stay in registers; row i adds a * b[i] and the multiple of n that clears the lowest digit. The
  // next multiple is found as soon as its digit is complete, for it is what everything waits for.
  template <size_t N>
  static __attribute__((noinline)) void multiply(Digit* out, const Digit* a, const Digit* b, const Digit* n, Digit k) {
    Lanes sum[N + 1];
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = A::set(0 - A::bias(2 * (J + 1), 2 * J)); });
    uint64_t top = 0 - A::bias(2 * (N - 1), 2 * N);
    sum[N] = A::set(top);
    Digit factor = b[0];
    A::multiply_add(sum[0], sum[1], a[0], factor);
    Digit multiple = A::low_digit(sum[0], k);
#pragma clang loop unroll(disable)
    for (size_t i = 0;;) {
      A::multiply_add(sum[1], sum[2], a[1], factor);
      A::multiply_add(sum[0], sum[1], n[0], multiple);
      A::multiply_add(sum[1], sum[2], n[1], multiple);
      sum[1] = A::add(sum[1], A::carry(sum[0]));
      Digit next_factor = factor, next_multiple = multiple;
      if (i + 1 < N) {
        next_factor = b[i + 1];
        A::multiply_add(sum[1], sum[2], a[0], next_factor);
        next_multiple = A::low_digit(sum[1], k);
      }
      each<2, N>([&]<size_t J>() __attribute__((always_inline)) {
        A::multiply_add(sum[J], sum[J + 1], a[J], factor);
        A::in_order(sum[J], a);
        A::multiply_add(sum[J], sum[J + 1], n[J], multiple);
        A::in_order(sum[J], n);
      });
      each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = sum[J + 1]; });
      if (++i == N) break;
      top += A::bias(2, 2);
      sum[N] = A::set(top);
      factor = next_factor;
      multiple = next_multiple;
    }
    to_digits<N>(out, sum);
  }

  // multiply(a, a) with half of the products: first the square by columns into `wide` (2 N rows), then the reduction.
  template <size_t N>
  static __attribute__((noinline)) void square(Digit* out, const Digit* a, const Digit* n, Digit k, Lanes* wide) {
    Lanes column = A::set(0), above_diagonal = A::set(0);
    each<0, 2 * N>([&]<size_t K>() __attribute__((always_inline)) {
      square_column<N, K>(wide[K], column, above_diagonal, a);
    });
    Lanes sum[N + 1];
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = wide[J]; });
    Digit multiple = A::low_digit(sum[0], k);
#pragma clang loop unroll(disable)
    for (size_t i = 0; i < N; ++i) {
      sum[N] = wide[N + i];
      A::multiply_add(sum[0], sum[1], n[0], multiple);
      A::multiply_add(sum[1], sum[2], n[1], multiple);
      sum[1] = A::add(sum[1], A::carry(sum[0]));
      Digit next_multiple = A::low_digit(sum[1], k);
      each<2, N>([&]<size_t J>() __attribute__((always_inline)) {
        A::multiply_add(sum[J], sum[J + 1], n[J], multiple);
        A::in_order(sum[J], n);
      });
      each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = sum[J + 1]; });
      multiple = next_multiple;
    }
    to_digits<N>(out, sum);
  }

  // wide = a * b, as columns of less than 2^63 (2 N rows).
  template <size_t N>
  static __attribute__((noinline)) void multiply_wide(Lanes* wide, const Digit* a, const Digit* b) {
    Lanes column = A::set(0);
    for (size_t k = 0; k < 2 * N; ++k) {
      Lanes next = A::set(0);
      const size_t from = k < N ? 0 : k - N + 1, to = k < N ? k + 1 : N;
#pragma clang loop unroll(disable)
      for (size_t i = from; i < to; ++i) A::multiply_add(column, next, a[i], b[k - i]);
      const size_t highs = k == 0 ? 0 : (k - 1 < N ? k : 2 * N - k);
      wide[k] = A::sub(column, A::set(A::bias(to - from, highs)));
      column = next;
    }
  }

  // wide = a * a; see multiply_wide.
  template <size_t N>
  static __attribute__((noinline)) void square_wide(Lanes* wide, const Digit* a) {
    Lanes column = A::set(0), above_diagonal = A::set(0);
    size_t highs = 0;
    for (size_t k = 0; k < 2 * N; ++k) {
      Lanes next = A::set(0);
      const size_t from = k < N ? 0 : k - N + 1;
      size_t lows = 0;
#pragma clang loop unroll(disable)
      for (size_t i = from; 2 * i < k && i < N; ++i, ++lows) A::multiply_add(column, next, a[i], a[k - i]);
      Lanes sum = A::add(A::add(column, column), above_diagonal);
      above_diagonal = A::set(0);
      const bool diagonal = k % 2 == 0 && k / 2 < N;
      if (diagonal) A::multiply_add(sum, above_diagonal, a[k / 2], a[k / 2]);
      wide[k] = A::sub(sum, A::set(A::bias(2 * lows + diagonal, 2 * highs + k % 2)));
      highs = lows;
      column = next;
    }
  }

  // out = wide / 2^(52 N) mod n, below n + wide / 2^(52 N); for numbers that do not fit in the registers. `multiples` is
  // scratch of N digits.
  template <size_t N>
  static __attribute__((noinline)) void reduce_wide(Digit* out, const Lanes* wide, const Digit* n, Digit k,
                                                    Digit* multiples) {
    Lanes carry = A::set(0), column = A::set(0);
    for (size_t i = 0; i < N; ++i) {
      Lanes sum = A::add(A::add(wide[i], column), carry), next = A::set(0);
#pragma clang loop unroll(disable)
      for (size_t j = 0; j < i; ++j) A::multiply_add(sum, next, multiples[j], n[i - j]);
      multiples[i] = A::low_digit(sum, k);
      A::multiply_add(sum, next, multiples[i], n[0]);
      carry = A::carry(A::sub(sum, A::set(A::bias(i + 1, i))));
      column = next;
    }
    for (size_t i = N; i < 2 * N; ++i) {
      Lanes sum = A::add(A::add(wide[i], column), carry), next = A::set(0);
#pragma clang loop unroll(disable)
      for (size_t j = i - N + 1; j < N; ++j) A::multiply_add(sum, next, multiples[j], n[i - j]);
      sum = A::sub(sum, A::set(A::bias(2 * N - 1 - i, 2 * N - i)));
      carry = A::carry(sum);
      out[i - N] = A::digit(A::low_bits(sum));
      column = next;
    }
  }

  // x -= n where x >= n. x below 2 n.
  template <size_t N>
  static __attribute__((noinline)) void subtract_if_not_below(Digit* x, const Digit* n) {
    Lanes borrow = A::set(0);  // 0 or -1
    Lanes less[N];
#pragma clang loop unroll(disable)
    for (size_t j = 0; j < N; ++j) {
      Lanes difference = A::add(A::sub(A::integer(x[j]), A::integer(n[j])), borrow);
      borrow = A::signed_carry(difference);
      less[j] = A::low_bits(difference);
    }
#pragma clang loop unroll(disable)
    for (size_t j = 0; j < N; ++j) x[j] = A::digit(A::select(borrow, A::integer(x[j]), less[j]));
  }

 private:
  // Column K of a * a, without what the reduction adds: twice the products above the diagonal, and the diagonal.
  template <size_t N, size_t K>
  static BELLHOP_INLINE void square_column(Lanes& out, Lanes& column, Lanes& above_diagonal, const Digit*& a) {
    constexpr size_t from = K < N ? 0 : K - N + 1;
    constexpr size_t lows = products_above_diagonal<N>(K);
    constexpr size_t highs = K == 0 ? 0 : products_above_diagonal<N>(K - 1);
    constexpr bool diagonal = K % 2 == 0 && K / 2 < N;
    Lanes next = A::set(0);
    each<from, from + lows>([&]<size_t I>() __attribute__((always_inline)) {
      A::multiply_add(column, next, a[I], a[K - I]);
      A::in_order(column, a);
    });
    Lanes sum = A::add(A::add(column, column), above_diagonal);
    above_diagonal = A::set(0);
    if constexpr (diagonal) A::multiply_add(sum, above_diagonal, a[K / 2], a[K / 2]);
    // The bias of the reduction that follows is taken off here, too.
    constexpr size_t reduction_lows = K < N ? K + 1 : 2 * N - 1 - K;
    constexpr size_t reduction_highs = K < N ? K : 2 * N - K;
    out = A::sub(sum, A::set(A::bias(2 * lows + diagonal + reduction_lows, 2 * highs + K % 2 + reduction_highs)));
    column = next;
  }

  template <size_t N>
  static constexpr size_t products_above_diagonal(size_t k) {
    if (k > 2 * N - 2) return 0;
    const size_t from = k < N ? 0 : k - N + 1;
    return (k + 1) / 2 - from;
  }
};

// The whole operation; see Kernel.
template <class A, size_t Half>
class PrivateOperation {
  using Numbers = lanes::Numbers<A>;
  using Lanes = typename A::Lanes;
  using Digit = typename A::Digit;
  using Space = Workspace<Half>;
  static constexpr size_t kFull = Space::kFull;

 public:
  static uint8_t run(Space& w) {
    to_digits(w.p, Half), to_digits(w.q, Half), to_digits(w.r2p, Half), to_digits(w.r2q, Half);
    to_digits(w.qinv, Half), to_digits(w.n, kFull), to_digits(w.r2n, kFull), to_digits(w.c, kFull);
    to_digits(&w.k0p, 1), to_digits(&w.k0q, 1), to_digits(&w.k0n, 1);

    power(w, w.m1, w.dp, w.p, w.r2p, w.k0p);
    power(w, w.m2, w.dq, w.q, w.r2q, w.k0q);
    combine(w);
    const uint8_t good = verify(w);
    for (Row& row : w.m) A::store(&row, A::integer(*digits(&row)));
    return good;
  }

 private:
  static BELLHOP_INLINE Digit* digits(Row* rows) { return reinterpret_cast<Digit*>(rows); }
  static BELLHOP_INLINE Lanes* wide(Row* rows) { return reinterpret_cast<Lanes*>(rows); }

  static void to_digits(Row* rows, size_t count) {
    for (size_t i = 0; i < count; ++i) *digits(&rows[i]) = A::digit(A::load(&rows[i]));
  }

  // out = one in the integers.
  template <size_t N>
  static void set_one(Row* out) {
    for (size_t i = 0; i < N; ++i) *digits(&out[i]) = A::digit(A::set(i == 0));
  }

  // out = c^exponent mod n, below n.
  static void power(Space& w, Row* out, const uint8_t (*exponent)[kLanes], Row* modulus, Row* r2, const Row& k0) {
    const Digit* n = digits(modulus);
    const Digit k = *reinterpret_cast<const Digit*>(&k0);
    auto multiply = [&](Row* to, Row* a, Row* b) { Numbers::template multiply<Half>(digits(to), digits(a), digits(b), n, k); };
    auto square = [&](Row* to, Row* a) { Numbers::template square<Half>(digits(to), digits(a), n, k, wide(w.wide)); };

    // c = high * R + low, so c * R = high * R^2 + low * R. No result exceeds 4 n, far below R.
    multiply(w.a, w.c + Half, r2);
    multiply(w.a, w.a, r2);
    multiply(w.b, w.c, r2);
    Lanes carry = A::set(0);
    for (size_t j = 0; j < Half; ++j) {
      Lanes sum = A::add(A::add(A::integer(*digits(&w.a[j])), A::integer(*digits(&w.b[j]))), carry);
      carry = A::carry(sum);
      *digits(&w.table[1][j]) = A::digit(A::low_bits(sum));
    }
    set_one<Half>(w.b);
    multiply(w.table[0], r2, w.b);
    for (size_t i = 2; i < kWindowEntries; i += 2) {
      square(w.table[i], w.table[i / 2]);
      multiply(w.table[i + 1], w.table[i], w.table[1]);
    }

    size_t window = Space::kWindows - 1;
    read_table(w, w.a, exponent[window]);
    while (window-- > 0) {
      for (unsigned i = 0; i < kWindowBits; ++i) square(w.a, w.a);
      read_table(w, w.b, exponent[window]);
      multiply(w.a, w.a, w.b);
    }
    set_one<Half>(w.b);
    multiply(out, w.a, w.b);  // out of Montgomery's form: at most n
    Numbers::template subtract_if_not_below<Half>(digits(out), n);
  }

  // out = table[index] for each lane's index. Reads all entries.
  static __attribute__((noinline)) void read_table(const Space& w, Row* out, const uint8_t (&index)[kLanes]) {
    constexpr size_t kPart = Half / 2;  // as many registers
    const Lanes wanted = A::load_bytes(index);
    each<0, Half / kPart>([&]<size_t Part>() __attribute__((always_inline)) {
      Lanes found[kPart];
      each<0, kPart>([&]<size_t J>() __attribute__((always_inline)) { found[J] = A::set(0); });
#pragma clang loop unroll(disable)
      for (size_t i = 0; i < kWindowEntries; ++i) {
        const auto is_wanted = A::equal(wanted, A::set(i));
        each<0, kPart>([&]<size_t J>() __attribute__((always_inline)) {
          found[J] = A::take_if(is_wanted, found[J], &w.table[i][Part * kPart + J]);
        });
      }
      each<0, kPart>([&]<size_t J>() __attribute__((always_inline)) { A::store(&out[Part * kPart + J], found[J]); });
    });
  }

  // m = m2 + q * ((m1 - m2) * qinv mod p), below n.
  static void combine(Space& w) {
    // m2 < q < 2 p, for both primes have their top bit set: so 2 p keeps the difference positive.
    Lanes carry = A::set(0);
    for (size_t j = 0; j < Half; ++j) {
      const Lanes p = A::integer(*digits(&w.p[j]));
      const Lanes difference = A::sub(A::integer(*digits(&w.m1[j])), A::integer(*digits(&w.m2[j])));
      const Lanes sum = A::add(A::add(difference, A::add(p, p)), carry);
      carry = A::signed_carry(sum);
      *digits(&w.a[j]) = A::digit(A::low_bits(sum));
    }
    Numbers::template multiply<Half>(digits(w.a), digits(w.a), digits(w.qinv), digits(w.p), *digits(&w.k0p));
    Numbers::template subtract_if_not_below<Half>(digits(w.a), digits(w.p));
    Numbers::template multiply_wide<Half>(wide(w.wide), digits(w.a), digits(w.q));
    carry = A::set(0);
    for (size_t j = 0; j < kFull; ++j) {
      Lanes sum = A::add(*wide(&w.wide[j]), carry);
      if (j < Half) sum = A::add(sum, A::integer(*digits(&w.m2[j])));
      carry = A::carry(sum);
      *digits(&w.m[j]) = A::digit(A::low_bits(sum));
    }
  }

  // m^65537 mod n against c. Uses nothing of the primes, so that no fault in them can hide itself.
  static uint8_t verify(Space& w) {
    const Digit k = *digits(&w.k0n);
    // y is scratch of reduce_wide first, and holds nothing between two products.
    auto reduce = [&] { Numbers::template reduce_wide<kFull>(digits(w.x), wide(w.wide), digits(w.n), k, digits(w.y)); };
    Numbers::template multiply_wide<kFull>(wide(w.wide), digits(w.m), digits(w.r2n));
    reduce();
    for (int i = 0; i < 16; ++i) {
      Numbers::template square_wide<kFull>(wide(w.wide), digits(w.x));
      reduce();
    }
    Numbers::template multiply_wide<kFull>(wide(w.wide), digits(w.x), digits(w.m));
    reduce();
    Numbers::template subtract_if_not_below<kFull>(digits(w.x), digits(w.n));
    Lanes wrong = A::set(0);
    for (size_t j = 0; j < kFull; ++j) {
      wrong = A::either(wrong, A::differs(A::integer(*digits(&w.x[j])), A::integer(*digits(&w.c[j]))));
    }
    return A::zero_lanes(wrong);
  }
};

#undef BELLHOP_INLINE

}  // namespace bellhop::crypto::lanes
