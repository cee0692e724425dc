// SPDX-License-Identifier: Apache-2.0
#include "service/rsa_engines.h"

#include <fmt/format.h>

#include "core/base/check.h"
#include "core/io.h"

namespace bellhop::service {
namespace {

// A turn of the loop may take 5 ms of CPU; the flows have the rest.
constexpr Duration kBatchMax = 4ms;

std::string_view kernel_name(RsaEngineChoice choice) {
  return choice == RsaEngineChoice::avx512f ? "avx512f" : "avx512ifma";
}

}  // namespace

std::optional<crypto::LanePlan> plan_rsa(RsaEngineChoice choice, std::string& complaint) {
  if (choice == RsaEngineChoice::boringssl) return crypto::LanePlan();
  if (choice == RsaEngineChoice::automatic) {
    auto kernels = crypto::available_kernels();
    return kernels.empty() ? crypto::LanePlan() : crypto::measure_lanes(*kernels.front(), &io::now, kBatchMax);
  }
  const crypto::lanes::Kernel* kernel = crypto::find_kernel(kernel_name(choice));
  if (!kernel) {
    complaint = fmt::format("keys.rsa_engine: this CPU, or its operating system, has no {}; use \"auto\"",
                            choice == RsaEngineChoice::avx512f ? "AVX-512F" : "AVX-512 IFMA");
    return std::nullopt;
  }
  // Whoever asks for it gets it, also where a batch takes longer than it should; from where on it pays is still measured.
  return crypto::measure_lanes(*kernel, &io::now, Duration::max());
}

std::unique_ptr<crypto::RsaEngine> make_rsa_engine(const crypto::LanePlan& plan) {
  return plan.useful() ? crypto::make_lane_engine(plan) : crypto::make_scalar_engine();
}

}  // namespace bellhop::service
