// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "service/compliance.h"

namespace bellhop::service {

// What Compliance keeps of one tenant. For its own sources.
struct Compliance::Part {
  Part(std::string name, TextPool& texts)
      : tenant(std::move(name)), owned(std::make_unique<ComplianceTable>(texts)), table(owned.get()), holds(texts) {}

  const std::string tenant;
  std::unique_ptr<ComplianceTable> owned;
  std::atomic<const ComplianceTable*> table;
  ComplianceTable holds;
  std::atomic<int64_t> stale_at_ms{0};  // 0: never
  uint32_t set = 0;                     // 0: none yet
  WallTime replaced{}, changed{};
  SourceReport source;
  bool stale_noted = false;
};

}  // namespace bellhop::service
