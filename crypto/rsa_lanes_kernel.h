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
//   multiply_high(high, a, b)       high alone
//   multiple(x, k)                  the digit (x + 1) * k mod 2^52 of any integers x and a digit k
//   bias(lows, highs)               what so many lows and highs have added too much, mod 2^64
//   digit(x), integer(d)            the digit of an integer's low 52 bits, and a digit as an integer below 2^52
//   in_order(vector, pointer)       keeps what follows from being started before: there are registers for so much only
//   kSpareRegisters                 a squaring leaves registers for more
//   set, load, store, add, sub, either (or), differs (xor), low_bits (mod 2^52), carry and signed_carry (/ 2^52, rounding
//   down), rotated (2 x, and the top bit as the lowest), bits(x, from, count), all_or_none (all ones for 1), select(all ones or
//   zeros, a, b), equal -> Mask, take_if(mask, found, even, odd), zero_lanes -> bits
//
// How a multiple of n clears the lowest digit of a sum: the low half of multiple * n[0] makes it zero, and carries one unless
// it was zero before. So the low half need not be computed: each column that is to be cleared has 2^52 - 1 too much, and what
// is above its lowest 52 bits is the carry.
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

// What goes on beside a squaring: nothing.
struct ReadNothing {
  static constexpr unsigned kPhases = 1, kTimes = 1;
  struct Kept {};
  BELLHOP_INLINE Kept begin(unsigned) const { return {}; }
  BELLHOP_INLINE void step(const Kept&) {}
};

template <class A>
class Numbers {
 public:
  using Lanes = typename A::Lanes;
  using Digit = typename A::Digit;

  // Parts = 1: out = a * b / R mod n, below n + a * b / R. `k` = -n^-1 mod 2^52. `out` may be an input.
  // Parts = 2: the same with half of the reduction, for a b that comes in two parts, of N digits each: b / 2^(52 N / 2) mod n,
  // which the lower half of a is multiplied by, and b, for the upper half. Below 3 n if the parts are below n and a below R.
  template <size_t N, size_t Parts = 1>
  static __attribute__((noinline)) void multiply(Digit* out, const Digit* a, const Digit* b, const Digit* n, Digit k) {
    constexpr size_t kRows = N / Parts;
    Lanes sum[N + 1];
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = A::set(row_start<N, kRows, Parts>(J)); });
    add_rows<N, kRows, Parts>(out, sum, a, b, n, k);
  }

  // out = a / 2^(52 N / 2) mod n, below n + 2^(52 N / 2).
  template <size_t N>
  static __attribute__((noinline)) void reduce_half(Digit* out, const Digit* a, const Digit* n, Digit k) {
    Lanes sum[N + 1];
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) {
      sum[J] = A::add(A::integer(a[J]), A::set(row_start<N, N / 2, 0>(J)));
    });
    add_rows<N, N / 2, 0>(out, sum, nullptr, nullptr, n, k);
  }

  // multiply(a, a) with half of the products, and then the result squared again, until it was done Beside::kTimes times: first
  // the square by columns into `wide` (2 N rows), then the reduction. Beside, made of `where`, is asked for a step in each row of
  // a reduction: work that loads more than it computes costs little here. See ReadNothing.
  template <size_t N, class Beside, class... Where>
  static __attribute__((noinline)) void square(Digit* out, const Digit* a, const Digit* n, Digit k, Lanes* wide,
                                               Where... where) {
    Beside beside{where...};
#pragma clang loop unroll(disable)
    for (unsigned phase = 0; phase < Beside::kPhases; ++phase) {
      const typename Beside::Kept kept = beside.begin(phase);
#pragma clang loop unroll(disable)
      for (unsigned time = 0; time < Beside::kTimes / Beside::kPhases; ++time) {
        square_once<N>(out, a, n, k, wide, beside, kept);
        a = out;
      }
    }
  }

  // out = x / R mod n, below n + x / R, for a number x of 2 N digits. `wide` is scratch of 2 N rows.
  template <size_t N>
  static __attribute__((noinline)) void reduce(Digit* out, const Digit* x, const Digit* n, Digit k, Lanes* wide) {
    each<0, 2 * N>([&]<size_t K>() __attribute__((always_inline)) {
      wide[K] = A::add(A::integer(x[K]), A::set(reduction_start<N>(K)));
    });
    ReadNothing nothing;
    reduce_columns<N>(out, wide, n, k, nothing, {});
  }

  // wide = a * b, as columns of less than 2^63 (2 N rows).
  template <size_t N>
  static __attribute__((noinline)) void multiply_wide(Lanes* wide, const Digit* a, const Digit* b) {
    Lanes column = A::set(0);
    for (size_t k = 0; k < 2 * N; ++k) {
      Lanes next = A::set(0);
      const size_t from = k < N ? 0 : k - N + 1, to = k < N ? k + 1 : N;
      add_products(column, next, a + from, b + (k - from), to - from);
      const size_t highs = k == 0 ? 0 : (k - 1 < N ? k : 2 * N - k);
      wide[k] = A::add(column, A::set(0 - A::bias(to - from, highs)));
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
  static constexpr uint64_t kRoundUp = (uint64_t{1} << kDigitBits) - 1;  // see above

  // What column J of a sum starts with that goes through add_rows().
  template <size_t N, size_t Rows, size_t Parts>
  static constexpr uint64_t row_start(size_t j) {
    return j < Rows ? kRoundUp - A::bias(Parts * (j + 1) + j, (Parts + 1) * j)
                    : 0 - A::bias((Parts + 1) * Rows, (Parts + 1) * Rows);
  }

  // out = (sum + a * b) / 2^(52 Rows) mod n; see multiply().
  // Row by row: the sums stay in registers; row i adds, for each part, b times one digit of a, and the multiple of n that clears
  // the lowest digit. The next multiple is found as soon as its digit is complete, for it is what everything waits for.
  template <size_t N, size_t Rows, size_t Parts>
  static BELLHOP_INLINE void add_rows(Digit* out, Lanes* sum, const Digit* a, const Digit* b, const Digit* n, Digit k) {
    uint64_t top = 0 - A::bias((Parts + 1) * (Rows - 1), (Parts + 1) * Rows);
    sum[N] = A::set(top);
    Digit factor[Parts + 1];
    each<0, Parts>([&]<size_t P>() __attribute__((always_inline)) {
      factor[P] = a[P * Rows];
      A::multiply_add(sum[0], sum[1], b[P * N], factor[P]);
    });
    Digit multiple = A::multiple(sum[0], k);
#pragma clang loop unroll(disable)
    for (size_t i = 0;;) {
      each<0, Parts>([&]<size_t P>() __attribute__((always_inline)) {
        A::multiply_add(sum[1], sum[2], b[P * N + 1], factor[P]);
      });
      A::multiply_high(sum[1], n[0], multiple);
      A::multiply_add(sum[1], sum[2], n[1], multiple);
      sum[1] = A::add(sum[1], A::carry(sum[0]));
      if (++i == Rows) break;
      Digit next_factor[Parts + 1];
      each<0, Parts>([&]<size_t P>() __attribute__((always_inline)) {
        next_factor[P] = a[P * Rows + i];
        A::multiply_add(sum[1], sum[2], b[P * N], next_factor[P]);
      });
      Digit next_multiple = A::multiple(sum[1], k);
      A::in_order(next_multiple, n);
      each<0, N - 2>([&]<size_t I>() __attribute__((always_inline)) {
        add_column<N, Parts, 2 + I * kColumnStep<N, Parts> % (N - 2)>(sum, b, n, factor, multiple);
      });
      each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = sum[J + 1]; });
      if constexpr (A::bias(1, 1) != 0) {
        top += A::bias(Parts + 1, Parts + 1);
        asm("" : "+r"(top));  // or else the compiler keeps it in a vector together with i
      }
      sum[N] = A::set(top);
      each<0, Parts>([&]<size_t P>() __attribute__((always_inline)) { factor[P] = next_factor[P]; });
      multiple = next_multiple;
    }
    // The last row, and the digits as their sums become complete.
    Lanes carry = A::carry(sum[1]);
    out[0] = A::digit(sum[1]);
    each<2, N>([&]<size_t J>() __attribute__((always_inline)) {
      add_column<N, Parts, J>(sum, b, n, factor, multiple);
      sum[J] = A::add(sum[J], carry);
      carry = A::carry(sum[J]);
      out[J - 1] = A::digit(sum[J]);
    });
    out[N - 1] = A::digit(A::add(sum[N], carry));
  }

  // Columns are added to in an order in which none comes next to its neighbour, where registers allow it: each product waits for
  // the one before it in its column, and an instruction has its port long before it is ready.
  template <size_t N, size_t Parts>
  static constexpr size_t kColumnStep = A::kSpareRegisters && Parts == 2 ? 5 : 1;
  static_assert(18 % 5 != 0 && 28 % 5 != 0);  // N - 2 columns: each has its turn

  template <size_t N, size_t Parts, size_t J>
  static BELLHOP_INLINE void add_column(Lanes* sum, const Digit*& b, const Digit*& n, const Digit* factor, Digit multiple) {
    each<0, Parts>([&]<size_t P>() __attribute__((always_inline)) {
      A::multiply_add(sum[J], sum[J + 1], b[P * N + J], factor[P]);
      A::in_order(sum[J], b);
    });
    A::multiply_add(sum[J], sum[J + 1], n[J], multiple);
    A::in_order(sum[J], n);
  }

  // What column k of a product has too much that is to be reduced in N rows.
  template <size_t N>
  static constexpr uint64_t reduction_start(size_t k) {
    return k < N ? kRoundUp - A::bias(k, k) : 0 - A::bias(2 * N - 1 - k, 2 * N - k);
  }

  // Where in a row there is a step: far from its multiple, which the next row waits for.
  static constexpr size_t kStepColumn = 8;

  // See square().
  template <size_t N, class Beside>
  static BELLHOP_INLINE void square_once(Digit* out, const Digit* a, const Digit* n, Digit k, Lanes* wide, Beside& beside,
                                         const typename Beside::Kept& kept) {
    square_all_columns<N>(wide, a);
    reduce_columns<N>(out, wide, n, k, beside, kept);
  }

  // out = wide / R mod n; wide has reduction_start() too much.
  template <size_t N, class Beside>
  static BELLHOP_INLINE void reduce_columns(Digit* out, const Lanes* wide, const Digit* n, Digit k, Beside& beside,
                                            const typename Beside::Kept& kept) {
    Lanes sum[N + 1];
    each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = wide[J]; });
    Digit multiple = A::multiple(sum[0], k);
#pragma clang loop unroll(disable)
    for (size_t i = 0;; ++i) {
      sum[N] = wide[N + i];
      A::multiply_high(sum[1], n[0], multiple);
      A::multiply_add(sum[1], sum[2], n[1], multiple);
      sum[1] = A::add(sum[1], A::carry(sum[0]));
      if (i + 1 == N) break;
      Digit next_multiple = A::multiple(sum[1], k);
      A::in_order(next_multiple, n);
      each<2, N>([&]<size_t J>() __attribute__((always_inline)) {
        A::multiply_add(sum[J], sum[J + 1], n[J], multiple);
        A::in_order(sum[J], n);
        if constexpr (J == kStepColumn) beside.step(kept);
      });
      each<0, N>([&]<size_t J>() __attribute__((always_inline)) { sum[J] = sum[J + 1]; });
      multiple = next_multiple;
    }
    // The last row, and the digits as their sums become complete.
    Lanes carry = A::carry(sum[1]);
    out[0] = A::digit(sum[1]);
    each<2, N>([&]<size_t J>() __attribute__((always_inline)) {
      A::multiply_add(sum[J], sum[J + 1], n[J], multiple);
      A::in_order(sum[J], n);
      if constexpr (J == kStepColumn) beside.step(kept);
      sum[J] = A::add(sum[J], carry);
      carry = A::carry(sum[J]);
      out[J - 1] = A::digit(sum[J]);
    });
    out[N - 1] = A::digit(A::add(sum[N], carry));
  }

  // So many columns of a square are summed up side by side: a sum takes a product every four cycles, the CPU two in one.
  static constexpr size_t kColumnsAtOnce = 10;

  template <size_t N>
  static BELLHOP_INLINE void square_all_columns(Lanes* wide, const Digit* a) {
    Lanes above = A::set(square_start<N>(0));
    each<0, 2 * N / kColumnsAtOnce>([&]<size_t Group>() __attribute__((always_inline)) {
      square_columns<N, Group * kColumnsAtOnce>(wide + Group * kColumnsAtOnce, above, a);
    });
  }

  // What column k starts with, to be doubled: 2^63 + 2^51 - 1 rotated is 2^52 - 1, at no cost.
  template <size_t N>
  static constexpr uint64_t square_start(size_t k) {
    if (k >= N) return 0;
    return (uint64_t{1} << 63) + kRoundUp / 2 -
           A::bias(products_above_diagonal<N>(k), k == 0 ? 0 : products_above_diagonal<N>(k - 1));
  }

  // Some columns of a * a, from First on: twice the products above the diagonal, and the diagonal; and reduction_start().
  // `above`: what the columns before add to the first one, and then what these add to the next.
  template <size_t N, size_t First>
  static BELLHOP_INLINE void square_columns(Lanes* out, Lanes& above, const Digit*& a) {
    constexpr size_t kCount = kColumnsAtOnce;
    Lanes sum[kCount + 1];
    sum[0] = above;
    each<1, kCount + 1>([&]<size_t C>() __attribute__((always_inline)) { sum[C] = A::set(square_start<N>(First + C)); });
    constexpr bool kLow = First < N;
    static_assert(First + kCount <= N || !kLow);
    each<0, N / 2>([&]<size_t Round>() __attribute__((always_inline)) {
      constexpr size_t kShared = kLow ? Round : N - 1 - Round;  // one factor of all products of a round
      const Digit factor = a[kShared];
      each<0, kCount>([&]<size_t I>() __attribute__((always_inline)) {
        constexpr size_t C = I * 3 % kCount, K = First + C;  // no column next to its neighbour: see kColumnStep
        if constexpr (Round < products_above_diagonal<N>(K)) {
          A::multiply_add(sum[C], sum[C + 1], factor, a[K - kShared]);
          A::in_order(sum[C], a);
        }
      });
    });
    above = sum[kCount];
    each<0, kCount>([&]<size_t C>() __attribute__((always_inline)) {
      sum[C] = kLow ? A::rotated(sum[C]) : A::add(sum[C], sum[C]);
    });
    each<0, kCount / 2>([&]<size_t C>() __attribute__((always_inline)) {
      A::multiply_add(sum[2 * C], sum[2 * C + 1], a[First / 2 + C], a[First / 2 + C]);
    });
    each<0, kCount>([&]<size_t C>() __attribute__((always_inline)) {
      constexpr size_t K = First + C;
      constexpr size_t kDoubledLows = kLow ? 0 : 2 * products_above_diagonal<N>(K);
      constexpr size_t kDoubledHighs = kLow ? 0 : 2 * products_above_diagonal<N>(K - 1);
      constexpr uint64_t kStart = reduction_start<N>(K) - (kLow ? kRoundUp : 0);
      out[C] = A::add(sum[C], A::set(kStart - A::bias(kDoubledLows + (K + 1) % 2, kDoubledHighs + K % 2)));
    });
  }

  // low += x[i] * y[-i] mod 2^52, high += x[i] * y[-i] / 2^52, for each i below `count`. Four pairs of sums, for the reason
  // above.
  static BELLHOP_INLINE void add_products(Lanes& low, Lanes& high, const Digit* x, const Digit* y, size_t count) {
    Lanes lows[4] = {low, A::set(0), A::set(0), A::set(0)}, highs[4] = {high, A::set(0), A::set(0), A::set(0)};
    const Digit* const end = x + count;
#pragma clang loop unroll(disable)
    for (; end - x >= 4; x += 4, y -= 4) {
      each<0, 4>([&]<size_t I>() __attribute__((always_inline)) {
        A::multiply_add(lows[I], highs[I], x[I], *(y - I));
      });
    }
#pragma clang loop unroll(disable)
    for (; x < end; ++x, --y) A::multiply_add(lows[0], highs[0], *x, *y);
    low = A::add(A::add(lows[0], lows[1]), A::add(lows[2], lows[3]));
    high = A::add(A::add(highs[0], highs[1]), A::add(highs[2], highs[3]));
  }

  template <size_t N>
  static constexpr size_t products_above_diagonal(size_t k) {
    if (k > 2 * N - 2) return 0;
    const size_t from = k < N ? 0 : k - N + 1;
    return (k + 1) / 2 - from;
  }
};

// Reads table[index] for each lane's index, a digit in a step; reads all entries. In two phases, of half of the entries each: the
// highest bit of the index is the phase, the two below it choose one of four pairs, and the lowest one within the pair.
template <class A, size_t Half>
struct ReadTable {
  using Lanes = typename A::Lanes;
  static_assert(kWindowBits == 4);
  static constexpr unsigned kPhases = 2, kTimes = kWindowBits;  // squarings between two readings
  static constexpr size_t kDigits = 2 * Half;                   // of an entry
  static constexpr size_t kPairs = kWindowEntries / 2 / kPhases;
  static_assert(kDigits * kPhases == kTimes * Half);  // a step in each row
  struct Kept {
    typename A::Mask is_pair[kPairs];
  };

  const Row* table;
  Row* out;
  const Row* exponent;
  size_t window;
  const Row* found = nullptr;  // what the next step goes on with: all ones or zeros, by the lowest bit, or what was found before
  size_t found_stride = 0;

  BELLHOP_INLINE Kept begin(unsigned phase) {
    constexpr size_t kInRow = 64 / kWindowBits;
    const Lanes row = A::load(exponent + window / kInRow);
    const unsigned from = window % kInRow * kWindowBits;
    if (phase == 0) {
      found = out + kDigits - 1;
      A::store(out + kDigits - 1, A::all_or_none(A::bits(row, from, 1)));  // the last step replaces it
    } else {
      table = table - kDigits * kWindowEntries + kWindowEntries / kPhases;
      out -= kDigits;
      found = out;
      found_stride = 1;
    }
    const Lanes pair = A::bits(row, from + 1, kWindowBits - 1);
    Kept kept{};
    each<0, kPairs>([&]<size_t I>() __attribute__((always_inline)) {
      kept.is_pair[I] = A::equal(pair, A::set(phase * kPairs + I));
    });
    return kept;
  }
  BELLHOP_INLINE void step(const Kept& kept) {
    Lanes sum = A::load(found);
    each<0, kPairs>([&]<size_t I>() __attribute__((always_inline)) {
      sum = A::take_if(kept.is_pair[I], sum, table + 2 * I, table + 2 * I + 1);
    });
    A::store(out, sum);
    table += kWindowEntries, found += found_stride, ++out;
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
    to_digits(w.checkp, Half), to_digits(w.checkq, Half), to_digits(w.qinv, Half), to_digits(w.n, kFull);
    to_digits(w.c, kFull), to_digits(&w.k0p, 1), to_digits(&w.k0q, 1);

    power(w, w.m1, w.dp, w.p, w.r2p, w.k0p);
    power(w, w.m2, w.dq, w.q, w.r2q, w.k0q);
    combine(w);
    const uint8_t good = A::zero_lanes(verify(w));
    for (Row& row : w.m) A::store(&row, A::integer(*digits(&row)));
    return good;
  }

 private:
  static BELLHOP_INLINE Digit* digits(Row* rows) { return reinterpret_cast<Digit*>(rows); }
  static BELLHOP_INLINE Lanes* wide(Row* rows) { return reinterpret_cast<Lanes*>(rows); }

  static void to_digits(Row* rows, size_t count) {
    for (size_t i = 0; i < count; ++i) *digits(&rows[i]) = A::digit(A::load(&rows[i]));
  }

  // out = c^exponent mod n, below n.
  static void power(Space& w, Row* out, const Row* exponent, Row* modulus, Row* r2, const Row& k0) {
    const Digit* n = digits(modulus);
    const Digit k = *reinterpret_cast<const Digit*>(&k0);
    auto multiply = [&](Row* to, Row* a, Row* b) { Numbers::template multiply<Half>(digits(to), digits(a), digits(b), n, k); };
    auto multiply_by_entry = [&](Row* to, Row* a, Row* entry) {
      Numbers::template multiply<Half, 2>(digits(to), digits(a), digits(entry), n, k);
    };
    auto reduce_half = [&](Row* to, Row* from) { Numbers::template reduce_half<Half>(digits(to), digits(from), n, k); };

    // Entry i is c^i * R in two parts, of which the lower one, made here, stays in b; see Numbers::multiply().
    auto put_entry = [&](size_t i, Row* from) {
      reduce_half(w.b, from);
      for (size_t j = 0; j < Half; ++j) w.table[j][i] = w.b[j], w.table[Half + j][i] = from[j];
    };
    reduce_half(w.a, r2);
    reduce_half(w.a, w.a);
    put_entry(0, w.a);
    // c * R by way of c / R. No result exceeds 3 n, far below R.
    Numbers::template reduce<Half>(digits(w.a), digits(w.c), n, k, wide(w.wide));
    multiply(w.a, w.a, r2);
    multiply(w.b + Half, w.a, r2);
    put_entry(1, w.b + Half);
    for (size_t j = 0; j < Half; ++j) w.a[j] = w.b[Half + j];
    Row* const first = w.x;  // both parts of c * R
    for (size_t j = 0; j < 2 * Half; ++j) first[j] = w.b[j];
    for (size_t i = 2; i < kWindowEntries; ++i) {
      multiply_by_entry(w.a, w.a, first);
      put_entry(i, w.a);
    }

    size_t window = Space::kWindows - 1;
    read_table(w, exponent, window);
    for (size_t j = 0; j < Half; ++j) w.a[j] = w.b[Half + j];
    while (window-- > 0) {
      if constexpr (A::kSpareRegisters) {
        Numbers::template square<Half, ReadTable<A, Half>>(digits(w.a), digits(w.a), n, k, wide(w.wide), w.table[0], w.b,
                                                           exponent, window);
      } else {
        for (unsigned i = 0; i < kWindowBits; ++i) {
          Numbers::template square<Half, ReadNothing>(digits(w.a), digits(w.a), n, k, wide(w.wide));
        }
        read_table(w, exponent, window);
      }
      multiply_by_entry(w.a, w.a, w.b);
    }
    reduce_half(w.a, w.a);  // out of Montgomery's form: at most n
    reduce_half(out, w.a);
    Numbers::template subtract_if_not_below<Half>(digits(out), n);
  }

  // b = the entry of the table that each lane's window of its exponent says.
  static __attribute__((noinline)) void read_table(Space& w, const Row* exponent, size_t window) {
    ReadTable<A, Half> reading{w.table[0], w.b, exponent, window};
#pragma clang loop unroll(disable)
    for (unsigned phase = 0; phase < reading.kPhases; ++phase) {
      const auto kept = reading.begin(phase);
#pragma clang loop unroll(disable)
      for (size_t i = 0; i < reading.kDigits; ++i) reading.step(kept);
    }
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
      *digits(&w.a[j]) = A::digit(sum);
    }
    Numbers::template multiply<Half>(digits(w.a), digits(w.a), digits(w.qinv), digits(w.p), *digits(&w.k0p));
    Numbers::template subtract_if_not_below<Half>(digits(w.a), digits(w.p));
    Numbers::template multiply_wide<Half>(wide(w.wide), digits(w.a), digits(w.q));
    carry = A::set(0);
    for (size_t j = 0; j < kFull; ++j) {
      Lanes sum = A::add(*wide(&w.wide[j]), carry);
      if (j < Half) sum = A::add(sum, A::integer(*digits(&w.m2[j])));
      carry = A::carry(sum);
      *digits(&w.m[j]) = A::digit(sum);
    }
  }

  // m^65537 against c, modulo p and modulo q, p * q against n, and c below n. Starts anew from m and c, and with a constant of
  // its own: with R^2 mod p it would share a fault in it, which could hide itself. -1 / p mod 2^52, which it does share with
  // the power, is checked. Zero where all is well.
  static Lanes verify(Space& w) {
    Lanes wrong = A::either(not_root(w, w.p, w.checkp, w.k0p), not_root(w, w.q, w.checkq, w.k0q));
    Numbers::template multiply_wide<Half>(wide(w.wide), digits(w.p), digits(w.q));
    Lanes carry = A::set(0), borrow = A::set(0);
    for (size_t j = 0; j < kFull; ++j) {
      const Lanes n = A::integer(*digits(&w.n[j]));
      const Lanes sum = A::add(*wide(&w.wide[j]), carry);
      wrong = A::either(wrong, A::differs(A::low_bits(sum), n));
      carry = A::carry(sum);
      borrow = A::signed_carry(A::add(A::sub(A::integer(*digits(&w.c[j])), n), borrow));
    }
    return A::either(A::either(wrong, carry), A::differs(borrow, A::set(~uint64_t{0})));
  }

  // Zero where m^65537 = c modulo p, and p * k = -1 modulo 2^52. m / R is Montgomery's form of m / R^2. Its power,
  // m^65537 / R^131074 in that form, times `check` = R^131073 is m^65537 / R, and c / R that of c.
  static Lanes not_root(Space& w, Row* modulus, Row* check, const Row& k0) {
    const Digit* n = digits(modulus);
    const Digit k = *reinterpret_cast<const Digit*>(&k0);
    Numbers::template reduce<Half>(digits(w.b), digits(w.m), n, k, wide(w.wide));
    Numbers::template square<Half, ReadNothing>(digits(w.a), digits(w.b), n, k, wide(w.wide));
    for (int i = 1; i < 16; ++i) Numbers::template square<Half, ReadNothing>(digits(w.a), digits(w.a), n, k, wide(w.wide));
    Numbers::template multiply<Half>(digits(w.a), digits(w.a), digits(w.b), n, k);
    Numbers::template multiply<Half>(digits(w.a), digits(w.a), digits(check), n, k);
    Numbers::template reduce<Half>(digits(w.b), digits(w.c), n, k, wide(w.wide));
    Numbers::template subtract_if_not_below<Half>(digits(w.a), n);
    Numbers::template subtract_if_not_below<Half>(digits(w.b), n);
    // With another k, both sides may go wrong alike: with zero, each reduction is x / R rounded up, which is 1 where m and c
    // are small.
    const Lanes minus_one = A::integer(A::multiple(A::sub(A::integer(n[0]), A::set(1)), k));
    Lanes wrong = A::differs(minus_one, A::set((uint64_t{1} << kDigitBits) - 1));
    for (size_t j = 0; j < Half; ++j) {
      wrong = A::either(wrong, A::differs(A::integer(*digits(&w.a[j])), A::integer(*digits(&w.b[j]))));
    }
    return wrong;
  }
};

#undef BELLHOP_INLINE

}  // namespace bellhop::crypto::lanes
