// SPDX-License-Identifier: Apache-2.0
// The kernels themselves, each that there is, against BoringSSL.
#include "crypto/rsa_lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>

#include <fmt/format.h>

#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/crypto/lanes_fixture.h"

namespace bellhop::crypto {
namespace {

using lanes::kHalf2048;
using lanes::kHalf3072;
using lanes::Kernel;
using lanes::kLanes;
using lanes::Row;
using lanes::Workspace;

class LanesTest : public testing::TestWithParam<const Kernel*> {
 protected:
  // A portable batch takes a hundred times as long: it gets fewer of them, and none where another test has it do the same.
  const Kernel& kernel_ = *GetParam();
  bool fast_ = is_fast(kernel_);

  // Runs whole batches; each result must be BoringSSL's.
  template <size_t Half>
  void check_against_boringssl(std::span<const LaneRequest> requests) {
    ASSERT_EQ(requests.size() % kLanes, 0u);
    auto space = make_space<Half>();
    for (; !requests.empty(); requests = requests.subspan(kLanes)) {
      fill(*space, requests.first(kLanes));
      ASSERT_EQ(run_kernel(kernel_, *space), 0xff);
      for (size_t lane = 0; lane < kLanes; ++lane) {
        ASSERT_EQ(result_of(*space, lane), boringssl_result(*requests[lane].key, requests[lane].ciphertext))
            << "lane " << lane << ", c = " << to_hex(requests[lane].ciphertext);
      }
    }
  }

  template <size_t Half>
  void check_crafted(unsigned bits, size_t batches_when_slow) {
    const auto keys = converted_keys(bits);
    LaneRequests requests;
    if (fast_) {
      for (const ConvertedKey& key : keys) {
        for (auto& ciphertext : crafted_ciphertexts(key)) requests.push_back({&key, std::move(ciphertext)});
      }
      std::shuffle(requests.begin(), requests.end(), std::mt19937(1));  // keys mixed
      while (requests.size() % kLanes != 0) requests.push_back(requests.front());
    } else {
      // Each key's turn in a lane, over the whole list.
      const size_t wanted = batches_when_slow * kLanes;
      const size_t cases = crafted_ciphertexts(keys[0]).size();
      for (size_t i = 0; i < wanted; ++i) {
        const ConvertedKey& key = keys[i % keys.size()];
        requests.push_back({&key, crafted_ciphertexts(key)[i * cases / wanted]});
      }
    }
    check_against_boringssl<Half>(requests);
  }

  LaneRequests random_requests(unsigned bits, size_t count, size_t first_key = 0) {
    const auto keys = converted_keys(bits);
    LaneRequests requests;
    for (size_t i = 0; i < count; ++i) {
      const ConvertedKey& key = keys[(first_key + i) % keys.size()];
      requests.push_back({&key, random_below_modulus(key)});
    }
    return requests;
  }

  // The column that lane `lane` has of everything.
  template <size_t Half>
  static std::vector<uint64_t> column(const Workspace<Half>& space, size_t lane) {
    std::vector<uint64_t> all;
    auto take = [&](std::span<const Row> rows) {
      for (const Row& row : rows) all.push_back(row.lane[lane]);
    };
    take(space.p), take(space.q), take(space.r2p), take(space.r2q), take(space.checkp), take(space.checkq);
    take(space.qinv), take(space.n), take({&space.k0p, 1}), take({&space.k0q, 1}), take(space.c), take(space.m);
    for (const auto& entry : space.table) take(entry);
    take(space.m1), take(space.m2), take(space.a), take(space.b), take(space.wide), take(space.x);
    return all;
  }

  template <size_t Half>
  void check_independence(unsigned bits) {
    auto alone = make_space<Half>(), among_others = make_space<Half>();
    const LaneRequests one = random_requests(bits, 1);
    fill(*alone, LaneRequests(kLanes, one[0]));
    const uint8_t good = run_kernel(kernel_, *alone);
    EXPECT_EQ(good, 0xff);
    const std::vector<uint64_t> expected = column(*alone, 0);
    for (size_t lane = 1; lane < kLanes; ++lane) ASSERT_EQ(column(*alone, lane), expected) << lane;

    for (size_t lane : fast_ ? std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7} : std::vector<size_t>{5}) {
      LaneRequests requests = random_requests(bits, kLanes, 1);
      requests[lane] = one[0];
      fill(*among_others, requests);
      // Two neighbours are not even keys.
      for (size_t i = 0; i < 2; ++i) {
        const size_t garbage = (lane + 1 + 3 * i) % kLanes;
        for (size_t j = 0; j < Half; ++j) {
          random_bytes({reinterpret_cast<uint8_t*>(&among_others->p[j].lane[garbage]), 6});
          random_bytes({reinterpret_cast<uint8_t*>(&among_others->r2q[j].lane[garbage]), 6});
        }
      }
      EXPECT_TRUE(run_kernel(kernel_, *among_others) >> lane & 1);
      ASSERT_EQ(column(*among_others, lane), expected) << lane;
    }
  }
};

std::string name_of_kernel(const testing::TestParamInfo<const Kernel*>& info) { return std::string(info.param->name); }
INSTANTIATE_TEST_SUITE_P(Kernels, LanesTest, testing::ValuesIn(all_kernels()), name_of_kernel);

TEST_P(LanesTest, AgreesWithBoringSslWithEightKeysInEightLanes) {
  check_against_boringssl<kHalf2048>(random_requests(2048, fast_ ? 80 : 8));
}

TEST_P(LanesTest, AgreesWithBoringSslFor3072Bits) {
  if (!fast_) GTEST_SKIP() << "slow: crafted ciphertexts of this size are enough";
  check_against_boringssl<kHalf3072>(random_requests(3072, 24));
}

TEST_P(LanesTest, AgreesWithBoringSslForOneKeyInAllLanes) {
  if (!fast_) GTEST_SKIP() << "slow: the engine is asked the same";
  const ConvertedKey& key = converted_keys(2048)[2];
  LaneRequests requests;
  while (requests.size() < kLanes) requests.push_back({&key, random_below_modulus(key)});
  check_against_boringssl<kHalf2048>(requests);
}

TEST_P(LanesTest, AgreesWithBoringSslForCraftedCiphertexts) { check_crafted<kHalf2048>(2048, 3); }

TEST_P(LanesTest, AgreesWithBoringSslForCraftedCiphertextsOf3072Bits) { check_crafted<kHalf3072>(3072, 1); }

TEST_P(LanesTest, AgreesWithBoringSslWhereThePartsOfTheResultAreFarthestApart) {
  LaneRequests requests;
  for (const ConvertedKey& key : converted_keys(2048)) {
    requests.push_back({&key, zero_modulo_p_and_minus_one_modulo_q(key)});
  }
  check_against_boringssl<kHalf2048>(requests);
}

TEST_P(LanesTest, ComputesALaneAlikeWhateverTheOthersDo) { check_independence<kHalf2048>(2048); }

TEST_P(LanesTest, ComputesALaneOf3072BitsAlikeWhateverTheOthersDo) {
  if (!fast_) GTEST_SKIP() << "slow: so it is with 2048 bits";
  check_independence<kHalf3072>(3072);
}

// Flips one bit of one part of what the kernel is given.
constexpr size_t kParts = 12;
constexpr const char* kPartNames[kParts] = {"p",    "q", "R^2 mod p", "R^2 mod q", "check mod p", "check mod q",
                                            "qinv", "n", "k0p",       "k0q",       "dp",          "dq"};
template <size_t Half>
void spoil(Workspace<Half>& space, size_t part, size_t lane, size_t row, unsigned bit) {
  Row* const parts[] = {&space.p[row % Half],      &space.q[row % Half],      &space.r2p[row % Half],
                        &space.r2q[row % Half],    &space.checkp[row % Half], &space.checkq[row % Half],
                        &space.qinv[row % Half],   &space.n[row % (2 * Half)], &space.k0p,
                        &space.k0q};
  if (part < std::size(parts)) {
    parts[part]->lane[lane] ^= uint64_t{1} << bit % lanes::kDigitBits;
  } else {
    auto& exponent = part == 10 ? space.dp : space.dq;
    exponent[row % std::size(exponent)].lane[lane] ^= uint64_t{1} << bit % 64;
  }
}

TEST_P(LanesTest, DisprovesTheResultOfAnyFault) {
  std::mt19937 random(7);
  auto space = make_space<kHalf2048>();
  for (unsigned round = 0; round < (fast_ ? 40u : 2u); ++round) {
    const LaneRequests requests = random_requests(2048, kLanes, round);
    fill(*space, requests);
    const size_t healthy = round % kLanes;
    std::array<size_t, kLanes> parts{};
    for (size_t lane = 0; lane < kLanes; ++lane) {
      parts[lane] = (round * 7 + lane) % kParts;
      if (lane != healthy) spoil(*space, parts[lane], lane, random(), random());
    }
    const uint8_t good = run_kernel(kernel_, *space);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      EXPECT_EQ(good >> lane & 1, lane == healthy) << "lane " << lane << ", " << kPartNames[parts[lane]];
    }
    EXPECT_EQ(result_of(*space, healthy), boringssl_result(*requests[healthy].key, requests[healthy].ciphertext));
  }
}

TEST_P(LanesTest, DisprovesTheResultOfAnyFaultIn3072Bits) {
  std::mt19937 random(7);
  auto space = make_space<kHalf3072>();
  for (unsigned round = 0; round < (fast_ ? 12u : 1u); ++round) {
    fill(*space, random_requests(3072, kLanes, round));
    for (size_t lane = 1; lane < kLanes; ++lane) {
      spoil(*space, (round * 7 + lane) % kParts, lane, random(), random());
    }
    EXPECT_EQ(run_kernel(kernel_, *space), 1);
  }
}

// Faults that leave numbers which fit each other, as flipped bits do not: other powers of R, their multiples, zeros, p for q.
TEST_P(LanesTest, DisprovesTheResultOfConstantsThatAreTakenForEachOther) {
  auto space = make_space<kHalf2048>();
  const LaneRequests requests = random_requests(2048, kLanes);
  fill(*space, requests);
  auto copy = [](std::span<Row> to, std::span<const Row> from, size_t lane) {
    for (size_t i = 0; i < to.size(); ++i) to[i].lane[lane] = from[i].lane[lane];
  };
  auto clear = [](std::span<Row> rows, size_t lane) {
    for (Row& row : rows) row.lane[lane] = 0;
  };
  copy(space->r2p, space->checkp, 1);
  for (size_t i = 0; i < kHalf2048; ++i) std::swap(space->r2q[i].lane[2], space->checkq[i].lane[2]);
  clear(space->r2p, 3);
  clear(space->r2q, 4), clear(space->checkq, 4);
  copy(space->q, space->p, 5), copy(space->r2q, space->r2p, 5), copy(space->checkq, space->checkp, 5);
  copy({&space->k0q, 1}, {&space->k0p, 1}, 5), copy(space->dq, space->dp, 5);
  uint64_t carry = 0;
  for (Row& row : space->r2p) {  // twice as much
    carry += 2 * row.lane[6];
    row.lane[6] = carry & ((uint64_t{1} << lanes::kDigitBits) - 1);
    carry >>= lanes::kDigitBits;
  }
  clear(space->qinv, 7);
  EXPECT_EQ(run_kernel(kernel_, *space), 1);
  EXPECT_EQ(result_of(*space, 0), boringssl_result(*requests[0].key, requests[0].ciphertext));
}

// Rows of one part of what the kernel is given become zero in a lane: what a store that was left out leaves there, for a
// workspace is zero between two batches.
template <size_t Half>
void clear_part(Workspace<Half>& space, size_t part, size_t lane) {
  const std::span<Row> parts[kParts] = {space.p,      space.q,    space.r2p, space.r2q,       space.checkp,    space.checkq,
                                        space.qinv,   space.n,    {&space.k0p, 1}, {&space.k0q, 1}, space.dp, space.dq};
  for (Row& row : parts[part]) row.lane[lane] = 0;
}

// Each constant in turn, with ciphertexts that leave a fault little to show in. Some have results that need not all of the
// constants, 0 and 1 before all: these may be good, and are right then.
template <size_t Half>
void check_missing_constants(const Kernel& kernel, const ConvertedKey& key, std::span<const std::vector<uint8_t>> ciphertexts) {
  constexpr size_t kHealthy = kLanes - 1, kAtOnce = kParts / 2;
  static_assert(kAtOnce < kHealthy);
  auto space = make_space<Half>();
  for (const std::vector<uint8_t>& ciphertext : ciphertexts) {
    const std::vector<uint8_t> right = boringssl_result(key, ciphertext);
    for (size_t first : {size_t{0}, kAtOnce}) {
      fill(*space, LaneRequests(kLanes, {&key, ciphertext}));
      for (size_t i = 0; i < kAtOnce; ++i) clear_part(*space, first + i, i);
      const uint8_t good = run_kernel(kernel, *space);
      for (size_t i = 0; i < kAtOnce; ++i) {
        const std::string_view name = kPartNames[first + i];
        const bool is_good = good >> i & 1;
        if (is_good) ASSERT_EQ(result_of(*space, i), right) << name << " is missing, c = " << to_hex(ciphertext);
        if (name == "p" || name == "q" || name == "n" || name.starts_with("k0")) {
          ASSERT_FALSE(is_good) << name << " is missing, c = " << to_hex(ciphertext);
        }
      }
      ASSERT_TRUE(good >> kHealthy & 1);
      ASSERT_EQ(result_of(*space, kHealthy), right);
    }
  }
}

std::vector<uint8_t> power_of_two(size_t size, size_t exponent, uint8_t times = 1) {
  std::vector<uint8_t> number(size);
  number[size - 1 - exponent / 8] = static_cast<uint8_t>(times << exponent % 8);
  return number;
}

TEST_P(LanesTest, DisprovesTheResultWhereAConstantIsMissing) {
  const ConvertedKey& key = converted_keys(2048)[1];
  std::vector<std::vector<uint8_t>> ciphertexts = {power_of_two(256, 0), power_of_two(256, 1), power_of_two(256, 1000),
                                                   random_below_modulus(key)};
  if (fast_) {
    ciphertexts.push_back(power_of_two(256, 0, 3));
    for (size_t exponent = 3; exponent < 2048; exponent += 52) ciphertexts.push_back(power_of_two(256, exponent));
    for (auto& crafted : crafted_ciphertexts(key)) ciphertexts.push_back(std::move(crafted));
  }
  check_missing_constants<kHalf2048>(kernel_, key, ciphertexts);
}

TEST_P(LanesTest, DisprovesTheResultWhereAConstantOf3072BitsIsMissing) {
  if (!fast_) GTEST_SKIP() << "slow: so it is with 2048 bits";
  const ConvertedKey& key = converted_keys(3072)[0];
  std::vector<std::vector<uint8_t>> ciphertexts = crafted_ciphertexts(key);
  for (size_t exponent = 3; exponent < 3072; exponent += 208) ciphertexts.push_back(power_of_two(384, exponent));
  check_missing_constants<kHalf3072>(kernel_, key, ciphertexts);
}

// A bit flips in the middle of the work: no lane gives a wrong result for a good one.
TEST(LanesFaults, AreDisprovedWhereverTheyHappen) {
  std::mt19937_64 random(11);
  const auto keys = converted_keys(2048);
  auto space = make_space<kHalf2048>();
  LaneRequests requests;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const ConvertedKey& key = keys[lane % keys.size()];
    requests.push_back({&key, random_below_modulus(key)});
  }
  fill(*space, requests);
  EXPECT_EQ(lanes::run_with_faults(*space, {}), 0xff);
  const uint64_t products = lanes::products_with_faults();
  size_t disproved = 0;
  constexpr size_t kRounds = 3;
  for (size_t round = 0; round < kRounds; ++round) {
    std::array<lanes::PlantedFault, kLanes> faults;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      faults[lane] = {.at = random() % products, .lane = lane, .bit = static_cast<unsigned>(random() % 60)};
    }
    std::ranges::sort(faults, {}, &lanes::PlantedFault::at);
    fill(*space, requests);
    const uint8_t good = lanes::run_with_faults(*space, faults);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (good >> lane & 1) {
        EXPECT_EQ(result_of(*space, lane), boringssl_result(*requests[lane].key, requests[lane].ciphertext)) << lane;
      } else {
        ++disproved;
      }
    }
  }
  EXPECT_GT(disproved, kRounds * kLanes / 2);
}

TEST_P(LanesTest, CallsNothingGoodThatIsNotBelowTheModulus) {
  auto space = make_space<kHalf2048>();
  const auto keys = converted_keys(2048);
  LaneRequests requests = random_requests(2048, kLanes);
  const std::vector<uint8_t> ones(256, 0xff);
  for (size_t lane : {0u, 3u}) {
    const Bytes modulus = keys[lane].key().public_key().modulus();
    requests[lane].ciphertext.assign(modulus.begin(), modulus.end());  // as good as 0, but not c
  }
  for (size_t lane : {1u, 6u}) requests[lane].ciphertext = ones;
  fill(*space, requests);
  EXPECT_EQ(run_kernel(kernel_, *space), 0b10110100);
}

// What the vector registers and the masks hold.
struct Registers {
  alignas(64) uint64_t zmm[32][8];
  uint16_t k[8];
};
#if defined(__x86_64__)
#define BELLHOP_STORE_MASK(n) "kmovw %%k" #n ", 2048+2*" #n "(%0)\n\t"
#define BELLHOP_STORE(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%0)\n\t"
__attribute__((always_inline)) inline void read_registers(Registers& out) {
  asm volatile(BELLHOP_STORE(0) BELLHOP_STORE(1) BELLHOP_STORE(2) BELLHOP_STORE(3) BELLHOP_STORE(4) BELLHOP_STORE(5)
                   BELLHOP_STORE(6) BELLHOP_STORE(7) BELLHOP_STORE(8) BELLHOP_STORE(9) BELLHOP_STORE(10)
                       BELLHOP_STORE(11) BELLHOP_STORE(12) BELLHOP_STORE(13) BELLHOP_STORE(14) BELLHOP_STORE(15)
                           BELLHOP_STORE(16) BELLHOP_STORE(17) BELLHOP_STORE(18) BELLHOP_STORE(19) BELLHOP_STORE(20)
                               BELLHOP_STORE(21) BELLHOP_STORE(22) BELLHOP_STORE(23) BELLHOP_STORE(24)
                                   BELLHOP_STORE(25) BELLHOP_STORE(26) BELLHOP_STORE(27) BELLHOP_STORE(28)
                                       BELLHOP_STORE(29) BELLHOP_STORE(30) BELLHOP_STORE(31) BELLHOP_STORE_MASK(0) BELLHOP_STORE_MASK(1)
     BELLHOP_STORE_MASK(2) BELLHOP_STORE_MASK(3) BELLHOP_STORE_MASK(4)
         BELLHOP_STORE_MASK(5) BELLHOP_STORE_MASK(6) BELLHOP_STORE_MASK(7)
               :
               : "r"(&out)
               : "memory");
}

void expect_empty(const Registers& registers) {
  for (size_t i = 0; i < 32; ++i) {
    for (uint64_t digit : registers.zmm[i]) EXPECT_EQ(digit, 0u) << "zmm" << i;
  }
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(registers.k[i], 0u) << "k" << i;
}

TEST_P(LanesTest, LeavesNothingInTheVectorRegisters) {
  if (!fast_) GTEST_SKIP() << "this kernel has no vector registers of its own";
  static_assert(offsetof(Registers, k) == 2048);
  static Registers after;
  auto space_2048 = make_space<kHalf2048>();
  fill(*space_2048, random_requests(2048, kLanes));
  // The control: this is seen.
  asm volatile("vpternlogq $0xff, %%zmm31, %%zmm31, %%zmm31\n\tkxnorw %%k7, %%k7, %%k7" ::: "memory");
  read_registers(after);
  for (uint64_t digit : after.zmm[31]) EXPECT_EQ(digit, ~uint64_t{0});
  EXPECT_EQ(after.k[7], 0xffff);
  (void)kernel_.rsa2048(*space_2048);
  read_registers(after);
  expect_empty(after);
  auto space_3072 = make_space<kHalf3072>();
  fill(*space_3072, random_requests(3072, kLanes));
  (void)kernel_.rsa3072(*space_3072);
  read_registers(after);
  expect_empty(after);
}
#endif

// Random pairs of key and ciphertext in the fastest kernel: 2,000, or as many as BELLHOP_RSA_PAIRS says; of these, one batch
// in sixteen has 3,072 bits. From 10,000 on, with a new key for each thousand.
class Pairs {
 public:
  explicit Pairs(size_t wanted) : wanted_(wanted) {}
  size_t done() const { return done_; }
  size_t keys() const { return keys_2048_.size() + keys_3072_.size(); }
  size_t mismatches() const { return mismatches_; }

  void run(const Kernel& kernel) {
    for (const TestKey& kept : test_keys(2048)) keys_2048_.emplace_back(kept.key.clone());
    for (const TestKey& kept : test_keys(3072)) keys_3072_.emplace_back(kept.key.clone());
    for (size_t batch = 0; done_ < wanted_; ++batch) {
      if (wanted_ >= 10'000 && done_ / 1000 > made_) add_key();
      if (batch % 16 == 15) {
        run_batch<kHalf3072>(kernel, keys_3072_);
      } else {
        run_batch<kHalf2048>(kernel, keys_2048_);
      }
    }
  }

 private:
  void add_key() {
    const bool large = ++made_ % 8 == 7;
    auto key = RsaPrivateKey::generate(large ? 3072 : 2048);
    ASSERT_TRUE(key);
    (large ? keys_3072_ : keys_2048_).emplace_back(*std::move(key));
  }

  template <size_t Half>
  void run_batch(const Kernel& kernel, const std::vector<ConvertedKey>& keys) {
    static Workspace<Half>& space = *new Workspace<Half>();
    LaneRequests requests;
    while (requests.size() < kLanes) {
      const ConvertedKey& key = keys[random_() % keys.size()];
      requests.push_back({&key, random_below_modulus(key)});
    }
    fill(space, requests);
    const uint8_t good = run_kernel(kernel, space);
    for (size_t lane = 0; lane < kLanes; ++lane, ++done_) {
      const bool right = (good >> lane & 1) && result_of(space, lane) == boringssl_result(*requests[lane].key,
                                                                                          requests[lane].ciphertext);
      if (right) continue;
      ++mismatches_;
      ADD_FAILURE() << "lane " << lane << ", n = " << to_hex(requests[lane].key->key().public_key().modulus())
                    << ", c = " << to_hex(requests[lane].ciphertext);
    }
  }

  const size_t wanted_;
  size_t done_ = 0, mismatches_ = 0, made_ = 0;
  std::mt19937 random_{std::random_device()()};
  std::vector<ConvertedKey> keys_2048_, keys_3072_;
};

TEST(LanesPairs, AgreeWithBoringSslAtRandom) {
  const auto kernels = available_kernels();
  if (kernels.empty()) GTEST_SKIP() << "this CPU has no vector engine";
  const char* wanted = std::getenv("BELLHOP_RSA_PAIRS");
  Pairs pairs(wanted ? std::strtoul(wanted, nullptr, 10) : 2000);
  const auto before = std::chrono::steady_clock::now();
  pairs.run(*kernels.front());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  EXPECT_GT(pairs.done(), 0u);
  EXPECT_EQ(pairs.mismatches(), 0u);
  fmt::print("{}: {} pairs with {} keys, {} mismatches, {:.1f} s\n", kernels.front()->name, pairs.done(), pairs.keys(),
             pairs.mismatches(), took.count());
}

}  // namespace
}  // namespace bellhop::crypto
