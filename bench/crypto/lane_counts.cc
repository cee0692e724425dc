// SPDX-License-Identifier: Apache-2.0
// Counts the products of two 52-bit digits in one batch, by part, by running it: figures that no machine changes. Each
// product costs vpmadd52luq and vpmadd52huq; a multiple of the modulus that is to be found, and what it adds to the digit that
// it clears, one of them alone. avx512f has five instructions in place of the two.
#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "bench/crypto/bench_keys.h"
#include "core/base/check.h"
#include "crypto/lane_key.h"
#include "crypto/rsa_engine.h"
#include "crypto/rsa_lanes_portable.h"

namespace bellhop::crypto {
namespace lanes {
namespace {

enum class Part { table, squarings, multiplications, combination, verification, count };
constexpr std::string_view kPartNames[] = {"table", "squarings", "multiplications", "combination", "verification"};
struct Count {
  uint64_t products = 0;   // both halves
  uint64_t highs = 0;      // the high half alone
  uint64_t multiples = 0;  // the low half alone
  uint64_t multiply_calls = 0, square_calls = 0;
};
std::array<Count, static_cast<size_t>(Part::count)> counts;
Part part = Part::table;
// Told by what is called in which order: a power makes its table, then reads it for the first time; it ends with its
// subtraction; and after both powers, numbers of full size are reduced for the verification alone.
unsigned powers_done = 0;
Count& current() { return counts[static_cast<size_t>(part)]; }

struct Plain : Portable {
  static void multiply_add(Lanes& low, Lanes& high, const Digit& a, const Digit& b) {
    ++current().products;
    Portable::multiply_add(low, high, a, b);
  }
  static void multiply_high(Lanes& high, const Digit& a, const Digit& b) {
    ++current().highs;
    Portable::multiply_high(high, a, b);
  }
  static Digit multiple(const Lanes& x, const Digit& k) {
    ++current().multiples;
    return Portable::multiple(x, k);
  }
  static Lanes bits(const Lanes& x, unsigned from, unsigned count) {
    if (part == Part::table) part = Part::multiplications;
    return Portable::bits(x, from, count);
  }
};
struct Counting : Plain {};

}  // namespace

// What the kernel calls: Plain's arithmetic, with the part noted.
template <>
class Numbers<Counting> {
  using Real = Numbers<Plain>;
  using Digit = Plain::Digit;
  using Lanes = Plain::Lanes;

 public:
  template <size_t N, size_t Parts = 1>
  static void multiply(Digit* out, const Digit* a, const Digit* b, const Digit* n, Digit k) {
    ++current().multiply_calls;
    Real::multiply<N, Parts>(out, a, b, n, k);
  }
  template <size_t N>
  static void reduce_half(Digit* out, const Digit* a, const Digit* n, Digit k) {
    Real::reduce_half<N>(out, a, n, k);
  }
  template <size_t N, class Beside, class... Where>
  static void square(Digit* out, const Digit* a, const Digit* n, Digit k, Lanes* wide, Where... where) {
    const Part caller = part;
    if (part == Part::multiplications) part = Part::squarings;
    current().square_calls += Beside::kTimes;
    Real::square<N, Beside>(out, a, n, k, wide, where...);
    part = caller;
  }
  template <size_t N>
  static void subtract_if_not_below(Digit* x, const Digit* n) {
    Real::subtract_if_not_below<N>(x, n);
    if (part == Part::multiplications) part = ++powers_done == 2 ? Part::combination : Part::table;
  }
  template <size_t N>
  static void multiply_wide(Lanes* wide, const Digit* a, const Digit* b) {
    Real::multiply_wide<N>(wide, a, b);
  }
  template <size_t N>
  static void reduce(Digit* out, const Digit* x, const Digit* n, Digit k, Lanes* wide) {
    if (part == Part::combination) part = Part::verification;
    Real::reduce<N>(out, x, n, k, wide);
  }
};

namespace {

// Runs a batch of different keys, and sees that it is a real one.
template <size_t Half>
void count_batch() {
  constexpr unsigned kBits = 2 * static_cast<unsigned>(prime_bits(Half));
  counts = {};
  part = Part::table;
  powers_done = 0;
  auto space = std::make_unique<Workspace<Half>>();
  std::memset(static_cast<void*>(space.get()), 0, sizeof *space);
  const std::vector<uint8_t> ciphertext = random_ciphertext(kBits);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    ConvertedKey(bench_keys(kBits)[lane].clone()).lanes().write_to(*space, lane);
    write_digits(space->c, lane, ciphertext);
  }
  BH_CHECK((PrivateOperation<Counting, Half>::run(*space)) == 0xff);
}

// So many cycles of the core: a product of 64 bits takes three on all CPUs with these vectors, and each waits for the one
// before. (Additions of constants would not do: newer CPUs join several into one.)
constexpr uint64_t kCycles = 240'000;
void multiply_in_a_row() {
  uint64_t x = 3;
  for (uint64_t i = 0; i < kCycles / (3 * 8); ++i) {
    asm volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0\n\t"
                 "imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0"
                 : "+r"(x));
  }
}

// The fastest of many: what else runs on the machine, or under it, only adds.
double fewest_seconds(int times, auto work) {
  Duration fewest = Duration::max();
  for (int i = 0; i < times; ++i) {
    const Instant before = thread_cpu_now();
    work();
    fewest = std::min(fewest, thread_cpu_now() - before);
  }
  return std::chrono::duration<double>(fewest).count();
}

// Cycles of the core for one operation of BoringSSL. Clocks keep their pace when the core does not: the chain is the
// measure.
double scalar_cycles(unsigned bits) {
  const ConvertedKey key(bench_keys(bits)[0].clone());
  const std::vector<uint8_t> ciphertext = random_ciphertext(bits);
  const std::unique_ptr<RsaEngine> engine = make_scalar_engine();
  RsaEngine::Request request{.key = &key, .ciphertext = ciphertext, .encoded = {}};
  RsaEngine::Request* const pointer = &request;
  const double measure = fewest_seconds(5000, &multiply_in_a_row);
  return fewest_seconds(2000, [&] { engine->run({&pointer, 1}); }) / measure * kCycles;
}

template <size_t Half>
void print() {
  constexpr unsigned kBits = 2 * static_cast<unsigned>(prime_bits(Half));
  count_batch<Half>();
  fmt::print("RSA-{}\n{:18}{:>10}{:>10}{:>12}{:>12}{:>14}{:>14}\n", kBits, "part", "multiply", "square", "products",
             "multiples", "vpmadd52", "avx512f ops");
  uint64_t madds = 0, operations = 0;
  auto line = [&](std::string_view name, const Count& c) {
    const uint64_t part_madds = 2 * c.products + c.highs + c.multiples,
                   part_operations = 5 * c.products + 2 * c.highs + 7 * c.multiples;
    fmt::print("{:18}{:>10}{:>10}{:>12}{:>12}{:>14}{:>14}\n", name, c.multiply_calls, c.square_calls, c.products,
               c.multiples, part_madds, part_operations);
    madds += part_madds;
    operations += part_operations;
  };
  for (size_t i = 0; i < counts.size(); ++i) line(kPartNames[i], counts[i]);
  fmt::print("{:18}{:>58}{:>14}\n{:18}{:>58}{:>14}\n", "batch of eight", madds, operations, "one operation",
             madds / kLanes, operations / kLanes);
  const double scalar = scalar_cycles(kBits);
  auto bound = [&](std::string_view what, double cycles) {
    fmt::print("  {:44}{:>12.0f} cycles a batch, at most {:.1f} x BoringSSL\n", what, cycles, kLanes * scalar / cycles);
  };
  fmt::print("BoringSSL here: {:.0f} cycles of the core an operation; bounds by the multiplying ports alone:\n",
             scalar);
  bound("vpmadd52, two a cycle", static_cast<double>(madds) / 2);
  bound("vpmadd52, one a cycle", static_cast<double>(madds));
  bound("avx512f, two ports for all five", static_cast<double>(operations) / 2);
}

}  // namespace
}  // namespace lanes
}  // namespace bellhop::crypto

int main() {
  bellhop::crypto::lanes::print<bellhop::crypto::lanes::kHalf2048>();
  fmt::print("\n");
  bellhop::crypto::lanes::print<bellhop::crypto::lanes::kHalf3072>();
  return 0;
}
