// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/time.h"
#include "crypto/rsa_engine.h"
#include "crypto/rsa_lanes.h"

namespace bellhop::crypto {

// Which operations go through the lanes of a vector engine, and which one by one through BoringSSL. The same for all
// cores of a process.
struct LanePlan {
  static constexpr size_t kNever = lanes::kLanes + 1;
  // A core does nothing else during a batch, and cannot end it early. As measured, which beside a busy neighbour on the same
  // core is up to twice as long as otherwise.
  static constexpr Duration kBatchMax = std::chrono::milliseconds(6);

  const lanes::Kernel* kernel = nullptr;
  // With so many requests of one size, or more, the lanes are faster.
  size_t from_2048 = kNever;
  size_t from_3072 = kNever;
  // One batch of eight, and one operation of BoringSSL, as measured; zero where not measured.
  Duration batch_2048{}, scalar_2048{}, batch_3072{}, scalar_3072{};

  bool useful() const { return from_2048 <= lanes::kLanes || from_3072 <= lanes::kLanes; }
};

// The vector engines that this CPU can run, best first.
std::vector<const lanes::Kernel*> available_kernels();
// An engine of available_kernels() by its name; null: not on this CPU.
const lanes::Kernel* find_kernel(std::string_view name);

// Times both ways: some milliseconds of work, up to five times as many for a size where the answer is that BoringSSL is
// faster. `now` is monotonic. A size whose batch takes longer than `batch_max` is left to BoringSSL.
LanePlan measure_lanes(const lanes::Kernel& kernel, Instant (*now)(), Duration batch_max);

// Up to eight operations at once in the plan's kernel, where the plan calls for it; else BoringSSL. Holds about 80 KB of
// locked memory for the first size that is used, 115 KB for 3072 bits.
std::unique_ptr<RsaEngine> make_lane_engine(const LanePlan& plan);

}  // namespace bellhop::crypto
