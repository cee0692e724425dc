// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "core/io.h"
#include "core/task.h"
#include "service/compliance.h"
#include "service/config.h"

namespace bellhop::service {

// Watches one file that holds what is known of all devices of a tenant ([[policy.source]] of kind "file"), and takes it
// as a whole when it has changed and then stayed the same from one look to the next, so that a file that is being written
// is left alone. A file that is missing or cannot be used changes nothing: the last data counts until it is too old. On
// core 0.
class ComplianceFile {
 public:
  ComplianceFile(Compliance& compliance, std::string tenant, std::string path)
      : compliance_(compliance), tenant_(std::move(tenant)), path_(std::move(path)) {}
  const std::string& tenant() const { return tenant_; }
  const std::string& path() const { return path_; }

  struct Look {
    bool changed = false;  // it was taken, or refused for another reason than before
    bool good = true;
    ComplianceChange change;
  };
  // What is found goes to Compliance's state of sources.
  Task<Look> look(Duration stale_after, uint64_t bytes_max);
  // To be looked at again soon: it has changed, and is to be seen at rest.
  bool unsettled() const { return unsettled_; }

 private:
  Task<Status> take(const io::FileInfo& info, uint64_t bytes_max, ComplianceChange& change, std::string& complaint);
  Look fail_with(SourceState state, std::string complaint, Duration stale_after);

  Compliance& compliance_;
  const std::string tenant_, path_;
  std::optional<io::FileInfo> seen_;   // at the last look
  std::optional<io::FileInfo> tried_;  // the last that was read, good or not
  std::string complaint_;              // of the last try; empty: it was good
  bool unsettled_ = true;
};

}  // namespace bellhop::service
