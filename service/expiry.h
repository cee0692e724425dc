// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/time.h"
#include "service/core.h"
#include "service/log.h"

namespace bellhop::service {

// Certificates of ours and provider tokens, as an operator watches them.

// What is shown of each at most: the soonest to expire, the oldest.
inline constexpr size_t kExpirySeriesMax = 64;
// From when on the log warns.
inline constexpr Duration kExpiryWarning = std::chrono::days(14);
inline constexpr Duration kExpiryReminder = std::chrono::days(1);
// How often is looked, beside the look that follows each reload: it walks all certificates, and takes memory for it.
inline constexpr Duration kExpiryLook = std::chrono::hours(1);

struct CertificateExpiry {
  std::string_view use;  // "listener", "gateway", "apns"
  std::string file;
  WallTime valid_from{};
  WallTime expires{};
};
// The soonest first, at most kExpirySeriesMax.
std::vector<CertificateExpiry> certificate_expiries(const Config& config, const Node& node);

// Appends the metrics that the table in metrics_table.h lists as kExpiryMetrics. Their labels are names out of the
// configuration, so their number is bounded.
void render_expiries(const Config& config, const Node& node, WallTime now, std::string& out);

// Says in the log what expires soon, has expired or is not valid yet: each file at once, then once a day. Core 0.
class ExpiryWatch {
 public:
  explicit ExpiryWatch(Log& log) : log_(log) {}
  void look(const Config& config, const Node& node, WallTime wall_now, Instant now);

 private:
  Log& log_;
  std::map<std::string, Instant> told_;  // by file; those that are in use only
};

}  // namespace bellhop::service
