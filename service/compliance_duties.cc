// SPDX-License-Identifier: Apache-2.0
#include "service/compliance_duties.h"

#include <algorithm>

#include "core/sleep.h"
#include "service/device_holds.h"
#include "service/policy_config_rules.h"

namespace bellhop::service {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(500);
constexpr Duration kWipeRetry = std::chrono::seconds(30);
// A file that has just changed is looked at again so soon.
constexpr Duration kSettle = std::chrono::seconds(1);

}  // namespace

Task<void> ComplianceDuties::run() {
  do {
    if (match_sources()) co_await count_unnamed();
    co_await look_at_files();
    co_await carry_out_wipes();
    keep_gauges();
  } while (co_await sleep_for(kTick));
}

// The files that the present configuration names; those that it names as before keep what was seen of them.
bool ComplianceDuties::match_sources() {
  if (generation_ == core_.generations.now().number) return false;
  generation_ = core_.generations.now().number;
  const Config& config = core_.config();
  tenants_ = policy_tenants(config);
  std::vector<Watched> before = std::exchange(watched_, {});
  for (const PolicySourceConfig& source : config.policy.sources) {
    if (source.kind != PolicySourceKind::file) continue;
    std::string tenant = source_tenant(config, source);
    auto same = std::ranges::find_if(before, [&](const Watched& one) {
      return one.file && one.file->tenant() == tenant && one.file->path() == source.file;
    });
    if (same != before.end()) {
      watched_.push_back(std::move(*same));
      watched_.back().due = io::now();  // the interval may be another
    } else {
      watched_.push_back({std::make_unique<ComplianceFile>(compliance_, tenant, source.file), io::now()});
      compliance_.note_failure(tenant, SourceKind::file, SourceState::waiting, "",
                               std::chrono::minutes(source.stale_after_minutes));
    }
  }
  for (const Watched& gone : before) {
    if (!gone.file) continue;
    // Where another source feeds the tenant now, what is known of its time goes on.
    bool fed = std::ranges::any_of(config.policy.sources, [&](const PolicySourceConfig& each) {
      return source_tenant(config, each) == gone.file->tenant();
    });
    if (!fed) compliance_.forget_source(gone.file->tenant());
  }
  return true;
}

// Devices that registered before names were kept: of their ids the store has hashes alone, which no data can be compared with.
Task<void> ComplianceDuties::count_unnamed() {
  if (!core_.config().policy.enabled) co_return;
  auto counts = co_await core_.node.store.counts();
  if (!counts || counts->devices == counts->devices_named) co_return;
  log_line(core_.log, LogLevel::warning, "devices_unnamed", field("devices", counts->devices - counts->devices_named),
           field("of", counts->devices),
           field("why", "they registered with a bellhop that did not keep names, and are unknown to the policy until their next request"),
           field("what_to_do", "keep [policy] dry_run = true until `bellhop compliance status` says that none is left"));
}

Task<void> ComplianceDuties::look_at_files() {
  GenerationSlot::Pin pin(core_.generations);
  const Config& config = core_.config();
  for (Watched& one : watched_) {
    if (io::now() < one.due) continue;
    auto source = std::ranges::find_if(config.policy.sources, [&](const PolicySourceConfig& each) {
      return source_tenant(config, each) == one.file->tenant();
    });
    if (source == config.policy.sources.end()) continue;  // another generation, with the next tick
    Duration stale_after = std::chrono::minutes(source->stale_after_minutes);
    ComplianceFile::Look look = co_await one.file->look(stale_after, config.policy.data_bytes_max);
    Duration interval = std::chrono::seconds(source->interval_seconds);
    one.due = io::now() + (one.file->unsettled() ? std::min<Duration>(interval, kSettle) : interval);
    if (!look.changed) continue;
    if (look.good) {
      log_line(core_.log, LogLevel::info, "compliance_replaced", field("source", "file"),
               field("tenant", not_personal(one.file->tenant())), field("lines", look.change.lines),
               field("devices", look.change.names), field("held", look.change.held));
    } else {
      log_line(core_.log, LogLevel::error, "compliance_source_failed", field("source", "file"),
               field("tenant", not_personal(one.file->tenant())),
               field("why", not_personal(compliance_.source(one.file->tenant()).complaint)));
    }
  }
}

// A device that was wiped is removed here too. What fails is tried again: it is kept out all the same.
Task<void> ComplianceDuties::carry_out_wipes() {
  std::vector<Compliance::Wipe> fresh = compliance_.take_wipes();
  std::ranges::move(fresh, std::back_inserter(wipes_));
  if (wipes_.empty() || (fresh.empty() && io::now() < wipes_due_)) co_return;
  for (size_t count = wipes_.size(); count > 0; --count) {
    Compliance::Wipe wipe = std::move(wipes_.front());
    wipes_.pop_front();
    if (compliance_.hold(wipe.tenant, wipe.device) != ComplianceHold::wiped) continue;  // let go meanwhile
    Result<HeldDevices> done = co_await apply_hold(core_, wipe.tenant, wipe.device, ComplianceHold::wiped);
    if (!done) {
      log_line(core_.log, LogLevel::error, "wipe_not_carried_out", field("tenant", not_personal(wipe.tenant)),
               field("error", done.error()));
      wipes_.push_back(std::move(wipe));
      if (is(done.error(), CoreError::canceled)) co_return;
    } else if (done->devices > 0) {
      log_line(core_.log, LogLevel::info, "device_wiped", field("tenant", not_personal(wipe.tenant)),
               field("devices", done->devices), field("subscriptions_ended", done->subscriptions_ended));
    }
    co_await yield_now();
  }
  wipes_due_ = io::now() + kWipeRetry;
}

void ComplianceDuties::keep_gauges() {
  uint64_t names = 0, held = 0, bytes = 0, failing = 0, stale = 0;
  for (const std::string& tenant : tenants_) {
    Compliance::Counts counts = compliance_.counts(tenant);
    names += counts.names;
    held += counts.held;
    bytes += counts.bytes;
    SourceState state = compliance_.source_state(tenant);
    failing += state == SourceState::unreachable || state == SourceState::broken || state == SourceState::stale;
    stale += state == SourceState::stale;
  }
  core_.metrics.set(metric::compliance_devices, names);
  core_.metrics.set(metric::compliance_held, held);
  core_.metrics.set(metric::compliance_bytes, bytes);
  core_.metrics.set(metric::compliance_sources_failing, failing);
  core_.metrics.set(metric::compliance_sources_stale, stale);
}

}  // namespace bellhop::service
