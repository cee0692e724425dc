// SPDX-License-Identifier: Apache-2.0
#include "crypto/rsa_lane_engine.h"

#include <algorithm>
#include <new>

#include <sys/mman.h>

#include "core/base/check.h"
#include "crypto/arena.h"
#include "crypto/boringssl.h"
#include "crypto/lane_key.h"

#include <openssl/bn.h>

namespace bellhop::crypto {
namespace {

using lanes::kLanes;

// Memory for one batch: out of dumps, locked as far as the limits allow, zeros whenever no batch runs.
template <size_t Half>
class OwnedWorkspace {
 public:
  using Space = lanes::Workspace<Half>;

  OwnedWorkspace() : block_(secret_allocate(kBytes)) {
    void* at = block_;
    size_t room = kBytes;
    space_ = new (std::align(alignof(Space), sizeof(Space), at, room)) Space;
    clear();
    (void)mlock(space_, sizeof(Space));  // refused by a low limit; the arena's metric tells of that
  }
  OwnedWorkspace(const OwnedWorkspace&) = delete;
  OwnedWorkspace& operator=(const OwnedWorkspace&) = delete;
  ~OwnedWorkspace() {
    (void)munlock(space_, sizeof(Space));
    secret_deallocate(block_, kBytes);
  }

  Space& operator*() { return *space_; }
  void clear() { wipe(space_, sizeof(Space)); }

 private:
  static constexpr size_t kBytes = sizeof(Space) + alignof(Space);
  void* block_;
  Space* space_;
};

template <size_t Half>
constexpr auto kernel_function(const lanes::Kernel& kernel) {
  if constexpr (Half == lanes::kHalf2048) {
    return kernel.rsa2048;
  } else {
    return kernel.rsa3072;
  }
}

// What the kernel's frames left below this one: spilled registers. They are less than half of this.
constexpr size_t kStackBytes = 32 * 1024;
__attribute__((noinline)) void wipe_stack_below() {
  [[clang::uninitialized]] uint8_t below[kStackBytes];
  wipe(below, sizeof below);
}

// Big-endian, of equal length; both are public.
bool below(Bytes a, Bytes b) { return std::ranges::lexicographical_compare(a, b); }

class LaneEngine final : public RsaEngine {
 public:
  explicit LaneEngine(const LanePlan& plan) : plan_(plan), scalar_(make_scalar_engine()) {
    BH_CHECK(plan.kernel != nullptr);
  }

  void run(std::span<Request* const> requests) override {
    run_size(space_2048_, plan_.from_2048, requests);
    run_size(space_3072_, plan_.from_3072, requests);
  }
  size_t batch_of(unsigned bits, size_t waiting) const override {
    const size_t count = std::min(waiting, kLanes);
    return count < (bits == 2048 ? plan_.from_2048 : plan_.from_3072) ? 1 : count;
  }
  std::string_view name() const override { return plan_.kernel->name; }
  Stats stats() const override {
    Stats stats = stats_;
    stats.scalar_total = scalar_->stats().scalar_total;
    return stats;
  }

 private:
  template <size_t Half>
  static bool is_of_size(const Request& request) {
    return request.key->modulus_bytes() * 4 == lanes::prime_bits(Half);
  }

  // The requests whose keys have this size, eight at a time.
  template <size_t Half>
  void run_size(std::unique_ptr<OwnedWorkspace<Half>>& space, size_t from, std::span<Request* const> requests) {
    std::array<Request*, kLanes> batch;
    size_t count = 0;
    auto flush = [&] {
      std::span<Request* const> taken = std::span(batch).first(count);
      if (count >= from) {
        if (!space) space = std::make_unique<OwnedWorkspace<Half>>();
        run_lanes<Half>(*space, taken);
      } else if (count > 0) {
        scalar_->run(taken);
      }
      count = 0;
    };
    for (Request* request : requests) {
      BH_CHECK(request->key != nullptr);
      if (!is_of_size<Half>(*request)) continue;
      request->encoded.clear();
      const Bytes modulus = request->key->key().public_key().modulus();
      if (request->ciphertext.size() != modulus.size() || !below(request->ciphertext, modulus)) continue;
      batch[count++] = request;
      if (count == kLanes) flush();
    }
    flush();
  }

  template <size_t Half>
  void run_lanes(OwnedWorkspace<Half>& owned, std::span<Request* const> requests) {
    lanes::Workspace<Half>& space = *owned;
    // Lanes that are left over work on the same requests once more: they take the same time, and tell nothing new.
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const Request& request = *requests[lane % requests.size()];
      request.key->lanes().write_to(space, lane);
      write_digits(space.c, lane, request.ciphertext);
    }
    const uint8_t good = kernel_function<Half>(*plan_.kernel)(space);
    stats_.vector_total += requests.size();
    for (size_t lane = 0; lane < requests.size(); ++lane) {
      if (!(good >> lane & 1)) continue;
      Secret encoded = Secret::of_size(requests[lane]->ciphertext.size());
      read_digits(space.m, lane, encoded.reveal_mutable());
      requests[lane]->encoded = std::move(encoded);
    }
    owned.clear();
    wipe_stack_below();
    for (size_t lane = 0; lane < requests.size(); ++lane) {
      if (good >> lane & 1) continue;
      ++stats_.faults_total;
      scalar_->run(requests.subspan(lane, 1));
    }
  }

  const LanePlan plan_;
  Stats stats_;
  std::unique_ptr<RsaEngine> scalar_;
  std::unique_ptr<OwnedWorkspace<lanes::kHalf2048>> space_2048_;
  std::unique_ptr<OwnedWorkspace<lanes::kHalf3072>> space_3072_;
};

Duration shortest(unsigned times, Instant (*now)(), auto work) {
  Duration shortest = Duration::max();
  for (unsigned i = 0; i < times; ++i) {
    const Instant before = now();
    work();
    shortest = std::min(shortest, now() - before);
  }
  return shortest;
}

// One operation of BoringSSL is two powers modulo a number of half the size; its checks and blinding come on top, and are
// left out here, in favour of BoringSSL.
Duration time_scalar(unsigned bits, Instant (*now)()) {
  std::vector<uint8_t> ones(bits / 16, 0xff);
  bssl::UniquePtr<BIGNUM> modulus(BN_bin2bn(ones.data(), ones.size(), nullptr)), result(BN_new());
  ones.back() = 0xfe;
  bssl::UniquePtr<BIGNUM> base(BN_bin2bn(ones.data(), ones.size(), nullptr));
  bssl::UniquePtr<BN_CTX> scratch(BN_CTX_new());
  bssl::UniquePtr<BN_MONT_CTX> montgomery(BN_MONT_CTX_new_for_modulus(modulus.get(), scratch.get()));
  BH_CHECK(base != nullptr && result != nullptr && montgomery != nullptr);
  return 2 * shortest(3, now, [&] {
           BH_CHECK(BN_mod_exp_mont_consttime(result.get(), base.get(), base.get(), modulus.get(), scratch.get(),
                                              montgomery.get()) == 1);
         });
}

// The kernel takes the same time for all numbers: zeros do.
template <size_t Half>
Duration time_lanes(const lanes::Kernel& kernel, Instant (*now)()) {
  OwnedWorkspace<Half> space;
  return shortest(2, now, [&] { (void)kernel_function<Half>(kernel)(*space); });
}

size_t break_even(Duration batch, Duration scalar, Duration batch_max) {
  if (batch > batch_max || scalar <= Duration::zero()) return LanePlan::kNever;
  return std::min(static_cast<size_t>(batch / scalar) + 1, LanePlan::kNever);
}

}  // namespace

std::vector<const lanes::Kernel*> available_kernels() {
  std::vector<const lanes::Kernel*> kernels = {lanes::ifma_kernel(), lanes::fma_kernel()};
  std::erase(kernels, nullptr);
  return kernels;
}

const lanes::Kernel* find_kernel(std::string_view name) {
  for (const lanes::Kernel* kernel : available_kernels()) {
    if (kernel->name == name) return kernel;
  }
  return nullptr;
}

LanePlan measure_lanes(const lanes::Kernel& kernel, Instant (*now)(), Duration batch_max) {
  LanePlan plan{.kernel = &kernel};
  plan.batch_2048 = plan.scalar_2048 = Duration::max();
  auto ask_2048 = [&] {
    plan.batch_2048 = std::min(plan.batch_2048, time_lanes<lanes::kHalf2048>(kernel, now));
    plan.scalar_2048 = std::min(plan.scalar_2048, time_scalar(2048, now));
    plan.from_2048 = break_even(plan.batch_2048, plan.scalar_2048, batch_max);
  };
  Duration batch_3072 = Duration::max(), scalar_3072 = Duration::max();
  auto ask_3072 = [&] {
    plan.batch_3072 = batch_3072 = std::min(batch_3072, time_lanes<lanes::kHalf3072>(kernel, now));
    plan.scalar_3072 = scalar_3072 = std::min(scalar_3072, time_scalar(3072, now));
    plan.from_3072 = break_even(plan.batch_3072, plan.scalar_3072, batch_max);
  };
  // The larger size takes 1.5^3 times as long, less what does not grow: where that is far too long, it is not tried.
  auto is_worth_a_try = [&] { return 2 * plan.batch_2048 <= batch_max; };
  // Whatever else the machine does at this moment only makes it look slower, and the answer stays for as long as the
  // process lives: a no is asked again, for each size.
  constexpr int kTriesMax = 5;
  for (int i = 0; i < kTriesMax && plan.from_2048 == LanePlan::kNever; ++i) ask_2048();
  for (int i = 0; i < kTriesMax && plan.from_3072 == LanePlan::kNever; ++i) {
    if (!is_worth_a_try() && plan.from_2048 != LanePlan::kNever) ask_2048();
    if (is_worth_a_try()) ask_3072();
  }
  return plan;
}

std::unique_ptr<RsaEngine> make_lane_engine(const LanePlan& plan) { return std::make_unique<LaneEngine>(plan); }

}  // namespace bellhop::crypto
