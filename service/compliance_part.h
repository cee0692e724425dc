// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <set>
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
  uint64_t holds_put = 0;                   // rises with each hold that begins to count
  uint64_t holds_spread = 0;                // `holds_put` when every name of each held device in `owned` was held
  std::set<store::ComplianceKey> unwritten;  // holds that count, and are to be written
  static constexpr int64_t kNoData = INT64_MIN;
  std::atomic<int64_t> stale_at_ms{0};  // 0: never; kNoData: a source has not been read once, and nobody else gave all
  Duration stale_after{};               // what it was reckoned with; zero: never too old
  uint32_t set = 0;                     // 0: none yet
  WallTime replaced{}, changed{};
  WallTime heard{};                     // the last success of its source, as the disk has it
  SourceReport source;
  bool stale_noted = false;
};

}  // namespace bellhop::service
