// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "core/sync.h"
#include "core/task.h"
#include "crypto/secret.h"
#include "proto/url.h"
#include "service/compliance.h"
#include "service/compliance_lines.h"
#include "service/http1_client.h"
#include "service/log.h"
#include "service/metrics.h"
#include "service/uem_page.h"
#include "service/upstreams.h"

namespace bellhop::service {

// Where and how often a tenant's compliance is asked for.
struct UemSourceOptions {
  std::string tenant;
  proto::Url url;           // of the list of devices; without a query
  std::string token_file;   // one line, for Bearer; or
  std::string username;     // for Basic, with
  std::string password_file;
  Duration delta_interval = 60s;
  Duration bulk_interval = std::chrono::hours(24);
  Duration page_timeout = 30s;
  uint64_t page_bytes_max = 16u << 20;
  Duration retry_first = 1s;
  Duration retry_max = std::chrono::minutes(5);
  Duration stale_after{};   // zero: never; see Compliance
};

// The one line of a file that is not open to all users. Blocking. Errors: os, config; `complaint` begins with the path and
// says what to do.
Result<crypto::Secret> read_uem_credential(const std::string& path, std::string& complaint);

// Asks a UEM which devices comply: at the start and at bulk_interval for all of them, in between at delta_interval for what
// has changed, over HTTPS, in pages (docs/uem.md). All pages of a bulk count at once or not at all; a delta counts page by
// page, and is asked for again where it did not come to its end. After a failure it tries again, later each time, and the
// last data holds until it is stale. Redirects are not followed. The files of its credentials are read anew for each try.
// One per source; on core 0, in pieces, so that others get their turn.
class UemSource {
 public:
  static constexpr uint64_t kPagesMax = 1'000'000;  // of one try

  // All that is given outlives it.
  UemSource(UemSourceOptions options, UpstreamRoutes routes, Compliance& compliance, MetricsShard& metrics, Log& log);
  UemSource(const UemSource&) = delete;
  UemSource& operator=(const UemSource&) = delete;

  // Until stopped.
  Task<void> run();
  // Asks now instead of at the next interval; `bulk`: for everything.
  void nudge(bool bulk = false);
  const UemSourceOptions& options() const { return options_; }

 private:
  // Why a try failed.
  struct Trouble {
    SourceState state = SourceState::unreachable;
    std::string complaint;    // for the operator
    bool stopped = false;     // it was our own end
    Duration retry_after{};   // that it asked for
    bool gone = false;        // the token is not known any more
  };
  using Outcome = std::expected<void, Trouble>;
  // How a page said to go on; one of the two.
  struct Next {
    std::string next, since;
  };
  using Take = std::function<Status(const ComplianceLine& line)>;

  Task<Outcome> pull(bool bulk);
  Task<Outcome> pull_all(const crypto::Secret& authorization);
  Task<Outcome> pull_changes(const crypto::Secret& authorization);
  Task<std::expected<Next, Trouble>> read_page(std::string_view query, const crypto::Secret& authorization, bool delta,
                                               const Take& take);
  Task<std::expected<Http1Lease, Http1Failure>> send(std::string_view query, const crypto::Secret& authorization);
  Task<Outcome> feed(ComplianceReader& reader, std::string_view devices);
  Outcome settle(const Result<ComplianceChange>& change) const;
  Result<crypto::Secret> read_authorization(std::string& complaint) const;
  Duration note(const Outcome& outcome, bool bulk, Duration took);
  Trouble judge(const Http1Response& response) const;
  Trouble judge(const Http1Failure& failure) const;
  Trouble trouble(SourceState state, std::string_view what) const;

  const UemSourceOptions options_;
  UpstreamRoutes routes_;
  Compliance& compliance_;
  MetricsShard& metrics_;
  Log& log_;
  const Http1ClientOptions client_options_;
  Http1Pool pool_;
  std::string since_;     // empty: everything is to be asked for
  Instant bulk_due_{};
  Duration retry_{};      // before the next try, while tries fail
  uint64_t lines_ = 0;    // of this try
  Event nudged_;
};

}  // namespace bellhop::service
