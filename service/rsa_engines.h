// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "crypto/rsa_lane_engine.h"
#include "service/config.h"

namespace bellhop::service {

// Which engine the cores use, decided once, before the loops start: asks the CPU, and measures (CPU time).
// Nothing where the configuration asks for what is not there; `complaint` says what to do then.
std::optional<crypto::LanePlan> plan_rsa(RsaEngineChoice choice, std::string& complaint);

// One core's engine.
std::unique_ptr<crypto::RsaEngine> make_rsa_engine(const crypto::LanePlan& plan);

}  // namespace bellhop::service
