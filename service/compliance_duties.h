// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/task.h"
#include "service/compliance.h"
#include "service/compliance_file.h"
#include "service/core.h"

namespace bellhop::service {

// What goes on beside requests: watched files are looked at, devices that the data calls wiped are removed from bellhop,
// gauges are kept. On core 0, until it is stopped.
class ComplianceDuties {
 public:
  ComplianceDuties(Core& core, Compliance& compliance) : core_(core), compliance_(compliance) {}
  Task<void> run();

 private:
  struct Watched {
    std::unique_ptr<ComplianceFile> file;
    Instant due{};
  };
  Task<void> look_at_files();
  Task<void> carry_out_wipes();
  // True where the configuration is another than at the last call.
  bool match_sources();
  Task<void> count_unnamed();
  void keep_gauges();

  Core& core_;
  Compliance& compliance_;
  std::vector<std::string> tenants_;  // of this generation: found once, as the gauges are kept at each tick
  std::vector<Watched> watched_;
  uint64_t generation_ = 0;
  std::deque<Compliance::Wipe> wipes_;  // that failed, to be tried again
  Instant wipes_due_{};
};

}  // namespace bellhop::service
