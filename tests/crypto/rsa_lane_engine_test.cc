// SPDX-License-Identifier: Apache-2.0
// The engine around the kernels: which requests go where, what it does with a fault, what it leaves behind.
#include "crypto/rsa_lane_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <unordered_set>

#include "core/base/check.h"
#include "crypto/boringssl.h"
#include "crypto/random.h"
#include "tests/crypto/crypto_fixture.h"
#include "tests/crypto/lanes_fixture.h"

#include <openssl/bn.h>
#include <openssl/rsa.h>

namespace bellhop::crypto {
namespace {

using lanes::kHalf2048;
using lanes::kHalf3072;
using lanes::Kernel;
using lanes::kLanes;
using lanes::Row;
using lanes::Workspace2048;
using lanes::Workspace3072;

// Requests that own what they refer to, with the results that they must have.
class Requests {
 public:
  void add(const ConvertedKey& key, std::vector<uint8_t> ciphertext, bool refused = false) {
    expected_.push_back(refused ? std::vector<uint8_t>() : boringssl_result(key, ciphertext));
    ciphertexts_.push_back(std::move(ciphertext));
    requests_.push_back({&key, ciphertexts_.back(), Secret::copy_of("stale")});
  }
  void add_random(const ConvertedKey& key) { add(key, random_below_modulus(key)); }

  void run(RsaEngine& engine) {
    std::vector<RsaEngine::Request*> pointers;
    for (RsaEngine::Request& request : requests_) pointers.push_back(&request);
    engine.run(pointers);
  }
  void expect_right(size_t except = SIZE_MAX) const {
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (i == except) continue;
      const Bytes encoded = requests_[i].encoded.reveal();
      EXPECT_THAT(encoded, testing::ElementsAreArray(expected_[i])) << "request " << i << " of " << requests_.size();
    }
  }
  // Of one request.
  Bytes encoded(size_t i) const { return requests_[i].encoded.reveal(); }

 private:
  std::deque<std::vector<uint8_t>> ciphertexts_;
  std::deque<RsaEngine::Request> requests_;
  std::vector<std::vector<uint8_t>> expected_;
};

// A kernel that counts its calls and keeps the address of the workspace, then lets the real one work. Of both sizes.
struct Spy {
  static inline const Kernel* real;
  static inline size_t calls_2048, calls_3072;
  static inline Workspace2048* space_2048;
  static inline Workspace3072* space_3072;
  // Called with the workspace before the real kernel.
  static inline void (*spoil)(Workspace2048&);
  // What the real kernel was given, as the idle lanes show it.
  static inline std::vector<uint64_t> lowest_digits;

  static uint8_t rsa2048(Workspace2048& space) {
    ++calls_2048;
    space_2048 = &space;
    lowest_digits.assign(std::begin(space.c[0].lane), std::end(space.c[0].lane));
    if (spoil) spoil(space);
    return real->rsa2048(space);
  }
  static uint8_t rsa3072(Workspace3072& space) {
    ++calls_3072;
    space_3072 = &space;
    return real->rsa3072(space);
  }
};
constexpr Kernel kSpyKernel = {"spy", &Spy::rsa2048, &Spy::rsa3072};

class LaneEngineTest : public testing::TestWithParam<const Kernel*> {
 protected:
  void SetUp() override {
    Spy::real = GetParam();
    Spy::calls_2048 = Spy::calls_3072 = 0;
    Spy::space_2048 = nullptr;
    Spy::space_3072 = nullptr;
    Spy::spoil = nullptr;
  }
  std::unique_ptr<RsaEngine> make_engine(size_t from_2048 = 1, size_t from_3072 = 1) {
    return make_lane_engine({.kernel = &kSpyKernel, .from_2048 = from_2048, .from_3072 = from_3072});
  }

  bool fast_ = is_fast(*GetParam());
  std::span<const ConvertedKey> small_ = converted_keys(2048), large_ = converted_keys(3072);
};

std::string name_of_kernel(const testing::TestParamInfo<const Kernel*>& info) { return std::string(info.param->name); }
INSTANTIATE_TEST_SUITE_P(Kernels, LaneEngineTest, testing::ValuesIn(all_kernels()), name_of_kernel);

TEST_P(LaneEngineTest, AnswersAnyNumberOfRequestsInBatchesOfEight) {
  const auto engine = make_engine();
  uint64_t total = 0;
  std::vector<size_t> counts(18);
  std::iota(counts.begin(), counts.end(), 0);
  if (!fast_) counts = {0, 1, 9};
  for (size_t count : counts) {
    Requests requests;
    for (size_t i = 0; i < count; ++i) requests.add_random(small_[(count + i) % small_.size()]);
    Spy::calls_2048 = 0;
    requests.run(*engine);
    requests.expect_right();
    total += count;
    EXPECT_EQ(Spy::calls_2048, (count + 7) / 8) << count;
    EXPECT_EQ(engine->stats().vector_total, total);
  }
  EXPECT_EQ(engine->stats().scalar_total, 0u);
  EXPECT_EQ(engine->stats().faults_total, 0u);
}

TEST_P(LaneEngineTest, SortsBothSizesOfOneCallIntoBatchesOfTheirOwn) {
  const auto engine = make_engine();
  Requests requests;
  for (size_t i = 0; i < 12; ++i) requests.add_random(i % 4 == 3 ? large_[i / 4] : small_[i % 8]);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(Spy::calls_2048, 2u);
  EXPECT_EQ(Spy::calls_3072, 1u);
  EXPECT_EQ(engine->stats().vector_total, 12u);
}

TEST_P(LaneEngineTest, AnswersOneKeyInSeveralLanes) {
  const auto engine = make_engine();
  Requests requests;
  const auto same = random_below_modulus(small_[0]);
  for (size_t i = 0; i < 6; ++i) requests.add_random(small_[i / 3]);
  requests.add(small_[0], same);
  requests.add(small_[0], same);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(engine->stats().vector_total, 8u);
}

TEST_P(LaneEngineTest, FillsEmptyLanesWithTheSameRequests) {
  const auto engine = make_engine();
  Requests requests;
  for (size_t i = 0; i < 3; ++i) requests.add_random(small_[i]);
  requests.run(*engine);
  requests.expect_right();
  for (size_t lane = 3; lane < kLanes; ++lane) EXPECT_EQ(Spy::lowest_digits[lane], Spy::lowest_digits[lane % 3]);
  EXPECT_EQ(engine->stats().vector_total, 3u);
}

TEST_P(LaneEngineTest, LeavesToBoringSslWhatIsBelowTheBreakEven) {
  // 10 requests make a batch of eight, and two that are left over.
  const auto engine = make_engine(3, LanePlan::kNever);
  Requests requests;
  for (size_t i = 0; i < 10; ++i) requests.add_random(small_[i % 8]);
  requests.add_random(large_[0]);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(Spy::calls_2048, 1u);
  EXPECT_EQ(Spy::calls_3072, 0u);
  EXPECT_EQ(engine->stats().vector_total, 8u);
  EXPECT_EQ(engine->stats().scalar_total, 3u);
  EXPECT_EQ(engine->batch_of(2048, 100), kLanes);
  EXPECT_EQ(engine->batch_of(3072, 100), 1u);
  EXPECT_EQ(engine->name(), "spy");

  Requests three;
  for (size_t i = 0; i < 3; ++i) three.add_random(small_[i]);
  three.run(*engine);
  three.expect_right();
  EXPECT_EQ(engine->stats().vector_total, 11u);
  EXPECT_EQ(engine->stats().faults_total, 0u);
}

TEST_P(LaneEngineTest, NeverAsksAKernelThatIsNotWorthIt) {
  const auto engine = make_engine(LanePlan::kNever, 8);
  Requests requests;
  for (size_t i = 0; i < 8; ++i) requests.add_random(small_[i]);
  for (size_t i = 0; i < 7; ++i) requests.add_random(large_[i % 4]);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(Spy::calls_2048 + Spy::calls_3072, 0u);
  EXPECT_EQ(engine->stats().scalar_total, 15u);
  EXPECT_EQ(engine->batch_of(2048, 100), 1u);
  EXPECT_EQ(engine->batch_of(3072, 100), kLanes);
}

TEST_P(LaneEngineTest, RefusesWhatIsNoCiphertextWithoutDisturbingTheNeighbours) {
  const auto engine = make_engine();
  Requests requests;
  const Bytes modulus = small_[1].key().public_key().modulus();
  std::vector<uint8_t> more(modulus.begin(), modulus.end());
  more[0] = 0xff;
  more[1] = 0xff;
  requests.add_random(small_[0]);
  requests.add(small_[1], {modulus.begin(), modulus.end()}, true);
  requests.add_random(small_[2]);
  requests.add(small_[6], std::vector<uint8_t>(256, 0xff), true);
  for (size_t size : {0u, 1u, 255u, 257u, 384u, 512u}) requests.add(small_[3], std::vector<uint8_t>(size, 1), true);
  requests.add_random(large_[0]);
  requests.add(large_[1], std::vector<uint8_t>(256, 1), true);
  requests.add(large_[2], std::vector<uint8_t>(384, 0xff), true);
  requests.add(small_[1], more, true);
  requests.add_random(small_[4]);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(engine->stats().vector_total, 4u);
  EXPECT_EQ(engine->stats().scalar_total, 0u);
  EXPECT_EQ(engine->stats().faults_total, 0u);
}

TEST_P(LaneEngineTest, AsksNothingWhereAllIsRefused) {
  const auto engine = make_engine();
  Requests requests;
  for (size_t i = 0; i < 9; ++i) requests.add(small_[i % 8], std::vector<uint8_t>(256, 0xff), true);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(Spy::calls_2048, 0u);
}

// A fault of another kind in each lane: a bit of p, q, R^2, qinv, n, the checks, the inverses, the exponents.
TEST_P(LaneEngineTest, GivesTheRightResultInSpiteOfAFaultInAnyPart) {
  const auto engine = make_engine();
  Requests requests;
  for (size_t i = 0; i < 16; ++i) requests.add_random(small_[i % 8]);
  Spy::spoil = +[](Workspace2048& space) {
    if (Spy::calls_2048 == 1) {
      space.p[7].lane[0] ^= 1u << 20;
      space.q[7].lane[1] ^= 1u << 21;
      space.r2p[7].lane[2] ^= 1u << 22;
      space.r2q[7].lane[3] ^= 1u << 23;
      space.qinv[7].lane[4] ^= 1u << 24;
      space.n[7].lane[5] ^= 1u << 25;
      space.checkp[7].lane[6] ^= 1u << 26;
    } else {
      space.k0p.lane[0] ^= 1;
      space.k0q.lane[1] ^= 2;
      space.checkq[7].lane[2] ^= 4;
      space.dp[7].lane[3] ^= 8;
      space.dq[7].lane[4] ^= 16;
      space.c[7].lane[5] ^= 1;  // no fault that verification knows of: it is another ciphertext
    }
  };
  requests.run(*engine);
  EXPECT_EQ(engine->stats().faults_total, 12u);
  EXPECT_EQ(engine->stats().scalar_total, 12u);
  EXPECT_EQ(engine->stats().vector_total, 16u);
  requests.expect_right(13);
  EXPECT_THAT(requests.encoded(13), testing::SizeIs(256));
}

// A key whose stored numbers are spoiled: neither way gives a result, and none gets out.
TEST_P(LaneEngineTest, LetsNoResultOutWhereTheKeyItselfIsSpoiled) {
  const auto engine = make_engine();
  const size_t d_end = 3 + 256;
  std::deque<ConvertedKey> keys;
  Requests requests;
  requests.add_random(small_[0]);
  for (size_t at : {d_end + 256 + 100, d_end + 384 + 100, d_end + 512 + 100}) {  // dP, dQ, qInv
    Secret spoiled = test_key().stored().clone();
    spoiled.reveal_mutable()[at] ^= 1;
    auto key = RsaPrivateKey::from_stored(std::move(spoiled));
    ASSERT_TRUE(key);
    keys.emplace_back(*std::move(key));
    requests.add(keys.back(), random_below_modulus(small_[6]), true);
  }
  requests.add_random(small_[1]);
  requests.run(*engine);
  requests.expect_right();
  EXPECT_EQ(engine->stats().faults_total, 3u);
  EXPECT_EQ(engine->stats().vector_total, 5u);
}

// ---- what is left behind ----

bool all_zero(const std::vector<uint8_t>& bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

TEST_P(LaneEngineTest, LeavesAWorkspaceOfZeros) {
  if (!fast_) GTEST_SKIP() << "slow: the engine does the same whatever the kernel";
  const auto engine = make_engine();
  Requests requests;
  for (size_t i = 0; i < 2; ++i) requests.add_random(small_[i]), requests.add_random(large_[i]);
  requests.run(*engine);
  requests.expect_right();
  ASSERT_TRUE(Spy::space_2048 && Spy::space_3072);
  EXPECT_TRUE(all_zero(peek(Spy::space_2048, sizeof(Workspace2048))));
  EXPECT_TRUE(all_zero(peek(Spy::space_3072, sizeof(Workspace3072))));
  // The control: without the engine the kernel leaves it full.
  auto space = make_space<kHalf2048>();
  fill(*space, LaneRequests(kLanes, {&small_[0], random_below_modulus(small_[0])}));
  (void)run_kernel(*GetParam(), *space);
  EXPECT_FALSE(all_zero(peek(space.get(), sizeof *space)));
}

// Words that must not be left: each eight bytes of a result and of the primes as they lie in memory in either order, and
// their digits, as integers and as doubles. On the heap, so that the search does not find itself.
class Words {
 public:
  void add(Bytes number) {
    for (size_t i = 0; i + 8 <= number.size(); ++i) {
      uint64_t word = 0;
      std::memcpy(&word, number.data() + i, 8);
      add_word(word);
      add_word(__builtin_bswap64(word));
    }
    std::vector<Row> rows(number.size() * 8 / lanes::kDigitBits);
    write_digits(rows, 0, number);
    for (const Row& row : rows) {
      add_word(row.lane[0]);
      const double real = static_cast<double>(row.lane[0]);
      uint64_t word = 0;
      std::memcpy(&word, &real, 8);
      add_word(word);
    }
  }
  size_t count_in(const std::vector<uint8_t>& memory) const {
    size_t found = 0;
    for (size_t i = 0; i + 8 <= memory.size(); ++i) {
      uint64_t word = 0;
      std::memcpy(&word, memory.data() + i, 8);
      found += words_.contains(word);
    }
    return found;
  }

 private:
  void add_word(uint64_t word) {
    if (word >> 40 != 0 && ~word >> 40 != 0) words_.insert(word);  // too common otherwise
  }
  std::unordered_set<uint64_t> words_;
};

constexpr size_t kStackBytes = 96 * 1024;

constexpr uint8_t kFill = 0xa5;
__attribute__((noinline)) void fill_stack_below() {
  uint8_t below[2 * kStackBytes];
  std::memset(below, kFill, sizeof below);
  asm volatile("" : : "r"(below) : "memory");
}
__attribute__((noinline)) std::vector<uint8_t> stack_below() {
  const auto* here = static_cast<const uint8_t*>(__builtin_frame_address(0));
  constexpr size_t kOwnFrames = 1024;  // peek()'s
  return peek(here - kStackBytes, kStackBytes - kOwnFrames);
}
__attribute__((noinline)) void leave_on_the_stack(const std::vector<uint8_t>& bytes) {
  volatile uint8_t room[8 * 1024];
  for (size_t i = 0; i < bytes.size(); ++i) room[i] = bytes[i];
}

// Bytes that are neither wiped nor untouched. Not counted: the frames of the engine itself, and, below the 32 KB that it wipes,
// those of the function that wipes. They hold pointers.
size_t left_by_the_kernel(const std::vector<uint8_t>& stack) {
  constexpr size_t kEngineFrames = 2 * 1024, kWiped = 32 * 1024, kWipersFrames = 1024;
  size_t left = 0;
  for (size_t i = 0; i < stack.size(); ++i) {
    const size_t depth = stack.size() - i;
    const bool is_of_engine = depth < kEngineFrames;
    const bool is_of_wiper = depth > kWiped - kEngineFrames && depth < kWiped + kWipersFrames;
    left += !is_of_engine && !is_of_wiper && stack[i] != 0 && stack[i] != kFill;
  }
  return left;
}

TEST_P(LaneEngineTest, LeavesNoPartOfTheResultOrTheKeyOnTheStack) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "the sanitizer's frames are not those of the program";
#endif
#endif
  if (!fast_) GTEST_SKIP() << "this kernel's frames are not those of an engine";
  const auto engine = make_engine();
  for (const ConvertedKey* key : {&small_[6], &large_[0]}) {
    std::vector<uint8_t> message = random_below_modulus(*key);
    message[0] = 0;
    const std::vector<uint8_t> ciphertext = boringssl_public(*key, message);
    Words words;
    words.add(message);
    for (const BIGNUM* number : {RSA_get0_p(key->rsa()), RSA_get0_q(key->rsa()), RSA_get0_dmp1(key->rsa()),
                                 RSA_get0_dmq1(key->rsa()), RSA_get0_iqmp(key->rsa())}) {
      std::vector<uint8_t> bytes(key->modulus_bytes() / 2);
      ASSERT_EQ(BN_bn2bin_padded(bytes.data(), bytes.size(), number), 1);
      words.add(bytes);
    }
    (void)key->lanes();
    RsaEngine::Request request{key, ciphertext, {}};
    RsaEngine::Request* const pointers[] = {&request};
    engine->run(pointers);  // the dynamic linker's part is done
    fill_stack_below();
    leave_on_the_stack(message);
    EXPECT_GT(words.count_in(stack_below()), 100u);  // the control
    fill_stack_below();
    EXPECT_EQ(words.count_in(stack_below()), 0u);
    engine->run(pointers);
    const std::vector<uint8_t> after = stack_below();
    EXPECT_EQ(words.count_in(after), 0u);
    EXPECT_EQ(left_by_the_kernel(after), 0u);
    EXPECT_TRUE(request.encoded.equals(message));
  }
}

}  // namespace
}  // namespace bellhop::crypto
