// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// RSA private-key operations (RFC 8017 section 5.1.2, with the CRT) for eight keys at once: one key per 64-bit lane of a
// vector register, numbers in radix 2^52. This header holds no inline function on purpose: it is seen by files that are
// compiled for other CPUs, and the linker must never pick a copy that the CPU at hand cannot run.
namespace bellhop::crypto::lanes {

inline constexpr size_t kLanes = 8;
inline constexpr unsigned kDigitBits = 52;
inline constexpr unsigned kWindowBits = 4;
inline constexpr size_t kWindowEntries = size_t{1} << kWindowBits;

// Digits of a prime: 20 for RSA-2048 (1,040 bits), 30 for RSA-3072 (1,560). The Montgomery radix R is 2^(52 * Half); the
// bits that are free above the prime are what saves the reductions between two multiplications.
inline constexpr size_t kHalf2048 = 20;
inline constexpr size_t kHalf3072 = 30;
// Bits of a prime, and windows of its exponent.
constexpr size_t prime_bits(size_t half) { return half == kHalf2048 ? 1024 : 1536; }
constexpr size_t exponent_rows(size_t half) { return prime_bits(half) / 64; }
constexpr size_t windows(size_t half) { return prime_bits(half) / kWindowBits; }

// Digit `i` of eight numbers, or 64 bits of eight exponents.
struct alignas(64) Row {
  uint64_t lane[kLanes];
};

// What one batch works on: the caller fills "in", the kernel "out" and the rest. Full of secrets: its owner wipes it.
template <size_t Half>
struct Workspace {
  static constexpr size_t kFull = 2 * Half;
  static constexpr size_t kWindows = windows(Half), kExponentRows = exponent_rows(Half);

  // in: digits below 2^52, least significant first
  Row p[Half], q[Half];
  Row r2p[Half], r2q[Half];    // R^2 mod p, mod q
  Row checkp[Half], checkq[Half];  // R^131073 mod p, mod q: for the verification
  Row qinv[Half];              // q^-1 * R mod p
  Row n[kFull];                // p * q
  Row k0p, k0q;                // -p^-1, -q^-1 mod 2^52
  Row c[kFull];                // ciphertext, below n
  Row dp[kExponentRows], dq[kExponentRows];  // exponents, the lowest bits first

  // out
  Row m[kFull];  // c^d mod n

  // The kernel's own.
  Row table[2 * Half][kWindowEntries];  // digit by digit, as it is read
  Row m1[Half], m2[Half], a[Half], b[2 * Half];
  Row wide[kFull], x[kFull];
};
using Workspace2048 = Workspace<kHalf2048>;
using Workspace3072 = Workspace<kHalf3072>;

// One way to do it. Constant time: the instructions and addresses are the same for all values. Returns a bit for each
// lane whose ciphertext is below n and whose result, raised to 65537, gives it again; the others must not be used.
struct Kernel {
  std::string_view name;
  uint8_t (*rsa2048)(Workspace2048&);
  uint8_t (*rsa3072)(Workspace3072&);
};

// AVX-512 IFMA (vpmadd52luq, vpmadd52huq); null where this CPU or operating system lacks it.
const Kernel* ifma_kernel();
// The same, whatever this CPU has: for tests that emulate the two instructions where it lacks them. Needs AVX-512F.
const Kernel* unchecked_ifma_kernel();
// AVX-512F: the halves of a 52-bit product by two fused multiply-adds of doubles; null where lacking.
const Kernel* fma_kernel();

}  // namespace bellhop::crypto::lanes
