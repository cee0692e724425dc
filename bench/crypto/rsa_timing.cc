// SPDX-License-Identifier: Apache-2.0
// Do secrets show in the time? Two classes of inputs, one of them drawn for each sample, and Welch's t of their times; see
// welch.h. A sample is one whole batch through a kernel, or one OAEP decoding.
//
//   rsa_timing [--samples N] [--oaep-samples N] [--bits 2048|3072] [--kernel NAME] [--only TEXT] [--seconds N]
//
// Ends with 0 if every |t| of what bellhop uses is below 4.5, and every planted leak above it. --samples: of each test of
// RSA, both classes together (100,000; two to five minutes of CPU each); --seconds: of CPU, ends each test of
// RSA early, with fewer; --only: tests whose name has this text.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include <fmt/format.h>

#include "bench/crypto/bench_keys.h"
#include "bench/crypto/leaky_lanes.h"
#include "bench/crypto/welch.h"
#include "core/base/check.h"
#include "crypto/error.h"
#include "crypto/hash.h"
#include "crypto/lane_key.h"
#include "crypto/random.h"
#include "crypto/rsa_lane_engine.h"

namespace bellhop::crypto {
namespace {

using lanes::kLanes;

constexpr double kBound = 4.5;
// A leak that only many samples show is no control: these see theirs with few.
constexpr size_t kControlSamples = 4000;

struct Options {
  size_t samples = 100'000, oaep_samples = 1'000'000;
  unsigned bits = 2048;
  std::string kernel, only;
  double seconds = 1e9;
};

bool all_as_expected = true;

// Draws a class and prepares its inputs, then measures, as often as asked. Both classes take the same way to the call.
TimingSamples measure(size_t count, double seconds, auto prepare, auto call) {
  TimingSamples samples;
  std::mt19937_64 random{std::random_device{}()};
  const auto end = thread_cpu_now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  for (size_t i = 0; i < count && thread_cpu_now() < end; ++i) {
    const bool second_class = random() & 1;
    prepare(second_class);
    const Instant before = thread_cpu_now();
    call();
    samples.add(second_class, static_cast<double>((thread_cpu_now() - before).count()));
  }
  return samples;
}

enum class Expect { silence, leak, nothing };

void judge(std::string_view name, const TimingSamples& samples, Expect expected) {
  const TimingSamples::Result r = samples.result();
  const bool leaks = std::abs(r.t) >= kBound;
  const bool right = expected == Expect::nothing || leaks == (expected == Expect::leak);
  all_as_expected = all_as_expected && right;
  fmt::print("{:4} {:58} t {:>8.2f} at {:>5.1f} %   {:>7} + {:>7} samples, medians {:.1f} and {:.1f} us\n",
             expected == Expect::nothing ? "" : right ? "ok" : "FAIL", name, r.t, r.percentile, r.count_first,
             r.count_second, r.median_first / 1000, r.median_second / 1000);
  std::fflush(stdout);
}

template <size_t Half>
class RsaTests {
  using Space = lanes::Workspace<Half>;
  static constexpr unsigned kBits = 2 * static_cast<unsigned>(lanes::prime_bits(Half));

 public:
  RsaTests(const Options& options, const lanes::Kernel& kernel, Expect expected)
      : options_(options), kernel_(kernel), expected_(expected), space_(std::make_unique<Space>()) {
    std::memset(static_cast<void*>(space_.get()), 0, sizeof(Space));
    for (const RsaPrivateKey& key : bench_keys(kBits)) {
      keys_.emplace_back(key.clone());
      (void)keys_.back().lanes();
    }
  }

  void run() {
    test("ciphertext: random or zero", [&](bool fixed) { put_ciphertexts(fixed, zero_); });
    if (expected_ != Expect::leak) {
      test("ciphertext: random or always the same", [&](bool fixed) { put_ciphertexts(fixed, same_); });
      test("key: one of eight or always the same", [&](bool fixed) {
        put_ciphertexts(false, zero_);
        for (size_t lane = 0; lane < kLanes; ++lane) {
          const size_t drawn = random_() % keys_.size();
          keys_[fixed ? 0 : drawn].lanes().write_to(*space_, lane);
        }
      });
    }
    test("exponents: random or few bits", [&](bool fixed) {
      put_ciphertexts(false, zero_);
      random_bytes({reinterpret_cast<uint8_t*>(space_->dp), sizeof space_->dp});
      random_bytes({reinterpret_cast<uint8_t*>(space_->dq), sizeof space_->dq});
      if (!fixed) return;
      for (lanes::Row& row : space_->dp) row = {};
      for (lanes::Row& row : space_->dq) row = {};
      for (size_t lane = 0; lane < kLanes; ++lane) space_->dp[0].lane[lane] = space_->dq[0].lane[lane] = 1;
    });
  }

 private:
  void test(std::string_view what, auto prepare) {
    const std::string name = fmt::format("RSA-{} {} {}", kBits, kernel_.name, what);
    if (name.find(options_.only) == std::string::npos) return;
    for (size_t lane = 0; lane < kLanes; ++lane) keys_[lane].lanes().write_to(*space_, lane);
    auto call = [&] {
      if constexpr (Half == lanes::kHalf2048) {
        (void)kernel_.rsa2048(*space_);
      } else {
        (void)kernel_.rsa3072(*space_);
      }
    };
    const size_t count = expected_ == Expect::leak ? std::min(options_.samples, kControlSamples) : options_.samples;
    judge(name, measure(count, options_.seconds, prepare_all(prepare), call), expected_);
  }

  // The kernel turns its inputs into digits of its own, in place: what does not change is put back for each sample.
  auto prepare_all(auto prepare) {
    return [this, prepare](bool fixed) {
      for (size_t lane = 0; lane < kLanes; ++lane) keys_[lane].lanes().write_to(*space_, lane);
      prepare(fixed);
    };
  }

  // Random bytes are drawn for both classes.
  void put_ciphertexts(bool fixed, const std::vector<uint8_t>& value) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      std::vector<uint8_t> ciphertext = random_ciphertext(kBits);
      if (fixed) std::ranges::copy(value, ciphertext.begin());
      write_digits(space_->c, lane, ciphertext);
    }
  }

  const Options& options_;
  const lanes::Kernel& kernel_;
  const Expect expected_;
  std::unique_ptr<Space> space_;
  std::vector<ConvertedKey> keys_;
  std::mt19937_64 random_{std::random_device{}()};
  const std::vector<uint8_t> zero_ = std::vector<uint8_t>(kBits / 8), same_ = random_ciphertext(kBits);
};

void test_rsa(const Options& options) {
  auto run = [&](const lanes::Kernel& kernel, Expect expected) {
    if (options.bits == 2048) {
      RsaTests<lanes::kHalf2048>(options, kernel, expected).run();
    } else {
      RsaTests<lanes::kHalf3072>(options, kernel, expected).run();
    }
  };
  const std::vector<const lanes::Kernel*> kernels = available_kernels();
  if (kernels.empty()) fmt::print("this CPU has no vector engine; only OAEP is tested\n");
  for (const lanes::Kernel* kernel : kernels) {
    if (!options.kernel.empty() && kernel->name != options.kernel) continue;
    run(kernel == lanes::ifma_kernel() ? *lanes::leaky_ifma_kernel() : *lanes::leaky_fma_kernel(), Expect::leak);
    run(*kernel, Expect::silence);
  }
}

// How a padding can be wrong. Whether it is becomes public; how, never: an attacker who can tell the first kind from the
// others decrypts what he likes (Manger's attack).
enum class Padding { first_byte, label, no_end, garbage, valid, count };
constexpr std::string_view kPaddingNames[] = {"first byte", "label", "no end", "garbage", "valid"};
constexpr size_t kModulusBytes = 256, kMessageBytes = 60, kHashBytes = 32, kVariants = 256;

// target ^= MGF1(seed)
void mask(MutableBytes target, Bytes seed) {
  std::vector<uint8_t> input(seed.begin(), seed.end());
  input.resize(seed.size() + 4);
  for (size_t at = 0; at < target.size(); ++at) {
    store_be32(input.data() + seed.size(), static_cast<uint32_t>(at / kHashBytes));
    if (at % kHashBytes == 0) {
      const Digest block = sha256(input);
      for (size_t i = 0; i < kHashBytes && at + i < target.size(); ++i) target[at + i] ^= block[i];
    }
  }
}

// An encoding under the label of 32 zeros, wrong in one way.
std::vector<uint8_t> encode(Padding padding) {
  std::vector<uint8_t> encoded(kModulusBytes);
  MutableBytes seed = MutableBytes(encoded).subspan(1, kHashBytes), block = MutableBytes(encoded).subspan(1 + kHashBytes);
  random_bytes(seed);
  random_bytes(block.last(kMessageBytes));
  uint8_t& end = block[block.size() - kMessageBytes - 1];
  end = 1;
  std::ranges::copy(sha256(Digest{}), block.begin());
  if (padding == Padding::first_byte) encoded[0] = 1;
  if (padding == Padding::label) block[0] ^= 1;
  if (padding == Padding::garbage) block[kHashBytes] = 2;
  if (padding == Padding::no_end) std::ranges::fill(block.subspan(kHashBytes), 0);
  mask(block, seed);
  mask(seed, block);
  return encoded;
}

// Looks at the first byte before it does the work.
Result<Secret> leaky_decode(Bytes encoded, Bytes label) {
  if (encoded[0] != 0) return fail(crypto_error(CryptoError::decrypt_failed));
  return oaep_decode(encoded, label);
}

void test_oaep(const Options& options) {
  std::vector<std::vector<uint8_t>> encodings[static_cast<size_t>(Padding::count)];
  for (size_t i = 0; i < std::size(encodings); ++i) {
    for (size_t j = 0; j < kVariants; ++j) encodings[i].push_back(encode(static_cast<Padding>(i)));
    BH_CHECK(oaep_decode(encodings[i][0], Digest{}).has_value() == (static_cast<Padding>(i) == Padding::valid));
  }
  std::mt19937_64 random{std::random_device{}()};
  auto test = [&](Padding first, Padding second, bool leaky, Expect expected) {
    const std::string name = fmt::format("OAEP {} {} or {}", leaky ? "leaky" : "bellhop", kPaddingNames[size_t(first)],
                                         kPaddingNames[size_t(second)]);
    if (name.find(options.only) == std::string::npos) return;
    std::vector<uint8_t> encoded(kModulusBytes);
    // Both are read and one is kept, without a branch: caches and predictors know nothing of the class.
    auto prepare = [&](bool second_class) {
      const size_t variant = random() % kVariants;
      const std::vector<uint8_t>& if_first = encodings[static_cast<size_t>(first)][variant];
      const std::vector<uint8_t>& if_second = encodings[static_cast<size_t>(second)][variant];
      uint8_t mask = static_cast<uint8_t>(0 - static_cast<unsigned>(second_class));
      asm("" : "+r"(mask));
      for (size_t i = 0; i < kModulusBytes; ++i) {
        encoded[i] = static_cast<uint8_t>((if_first[i] & ~mask) | (if_second[i] & mask));
      }
    };
    auto call = [&] { (void)(leaky ? leaky_decode(encoded, Digest{}) : oaep_decode(encoded, Digest{})).has_value(); };
    const size_t count = leaky ? std::min(options.oaep_samples, kControlSamples) : options.oaep_samples;
    judge(name, measure(count, 1e9, prepare, call), expected);
  };
  test(Padding::label, Padding::first_byte, true, Expect::leak);
  for (const Padding other : {Padding::label, Padding::no_end, Padding::garbage}) {
    test(other, Padding::first_byte, false, Expect::silence);
  }
  test(Padding::label, Padding::garbage, false, Expect::silence);
  // That there is a message is public from here on: a good one is cut to its length, given out and wiped later.
  test(Padding::valid, Padding::first_byte, false, Expect::nothing);
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--samples") {
      options.samples = std::strtoull(value, nullptr, 10);
    } else if (name == "--oaep-samples") {
      options.oaep_samples = std::strtoull(value, nullptr, 10);
    } else if (name == "--bits") {
      options.bits = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    } else if (name == "--kernel") {
      options.kernel = value;
    } else if (name == "--only") {
      options.only = value;
    } else if (name == "--seconds") {
      options.seconds = std::strtod(value, nullptr);
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && rsa_bits_allowed(options.bits);
}

}  // namespace
}  // namespace bellhop::crypto

int main(int argc, char** argv) {
  bellhop::crypto::Options options;
  if (!bellhop::crypto::parse(argc, argv, options)) {
    fmt::print(stderr, "usage: rsa_timing [--samples N] [--oaep-samples N] [--bits 2048|3072] [--kernel NAME] "
                       "[--only TEXT] [--seconds N]\n");
    return 2;
  }
  bellhop::crypto::test_oaep(options);
  bellhop::crypto::test_rsa(options);
  fmt::print("{}\n", bellhop::crypto::all_as_expected ? "as expected" : "NOT as expected");
  return bellhop::crypto::all_as_expected ? 0 : 1;
}
