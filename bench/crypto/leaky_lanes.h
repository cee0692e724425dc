// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "crypto/rsa_lanes.h"

// Kernels that leak on purpose: what the timing bench must see, or else its silence means nothing.
namespace bellhop::crypto::lanes {

// An Arithmetic with two mistakes that are easily made. No data of the product ever meets it.
template <class A>
struct Leaky : A {
  using Lanes = typename A::Lanes;
  using Digit = typename A::Digit;
  using Mask = typename A::Mask;

  // Only entries that some lane wants are read: the time tells how many different windows the exponents have.
  static Lanes take_if(Mask mask, Lanes found, const Row* even, const Row* odd) {
    return static_cast<unsigned>(mask) != 0 ? A::take_if(mask, found, even, odd) : found;
  }
  // Nothing to multiply where the digits are zero: the time tells of such numbers.
  static Digit multiple(Lanes x, Digit k) {
    if (A::zero_lanes(A::low_bits(A::add(x, A::set(1)))) == 0xff) [[unlikely]] return A::digit(A::set(0));
    return A::multiple(x, k);
  }
};

// Like ifma_kernel() and fma_kernel().
const Kernel* leaky_ifma_kernel();
const Kernel* leaky_fma_kernel();

}  // namespace bellhop::crypto::lanes
