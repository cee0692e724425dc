// SPDX-License-Identifier: Apache-2.0
#include "service/rsa_engines.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/check.h"
#include "core/io.h"

namespace bellhop::service {
namespace {

// Of this thread, so that a machine that is busy at the start does not make a vector engine look slow.
Instant cpu_time() { return Instant(std::chrono::nanoseconds(io::thread_cpu_ns())); }

std::string_view kernel_name(RsaEngineChoice choice) {
  return choice == RsaEngineChoice::avx512f ? "avx512f" : "avx512ifma";
}

}  // namespace

std::optional<crypto::LanePlan> plan_rsa(RsaEngineChoice choice, std::string& complaint) {
  if (choice == RsaEngineChoice::boringssl) return crypto::LanePlan();
  if (choice == RsaEngineChoice::automatic) {
    auto kernels = crypto::available_kernels();
    return kernels.empty() ? crypto::LanePlan() : crypto::measure_lanes(*kernels.front(), &cpu_time, crypto::LanePlan::kBatchMax);
  }
  const crypto::lanes::Kernel* kernel = crypto::find_kernel(kernel_name(choice));
  if (!kernel) {
    complaint = fmt::format("keys.rsa_engine: this CPU, or its operating system, has no {}; use \"auto\"",
                            choice == RsaEngineChoice::avx512f ? "AVX-512F" : "AVX-512 IFMA");
    return std::nullopt;
  }
  // Whoever asks for it gets it, also where a batch takes longer than it should, and full batches at least; whether
  // smaller ones pay is still measured.
  crypto::LanePlan plan = crypto::measure_lanes(*kernel, &cpu_time, Duration::max());
  plan.from_2048 = std::min(plan.from_2048, crypto::lanes::kLanes);
  plan.from_3072 = std::min(plan.from_3072, crypto::lanes::kLanes);
  return plan;
}

std::unique_ptr<crypto::RsaEngine> make_rsa_engine(const crypto::LanePlan& plan) {
  return plan.useful() ? crypto::make_lane_engine(plan) : crypto::make_scalar_engine();
}

}  // namespace bellhop::service
