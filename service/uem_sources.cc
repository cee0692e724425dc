// SPDX-License-Identifier: Apache-2.0
#include "service/uem_sources.h"

#include <algorithm>
#include <optional>

#include "core/base/check.h"
#include "service/policy_config_rules.h"

namespace bellhop::service {

// One tenant's source. Invariants:
//  1. serving is true from the spawn of serve() to its end;
//  2. a slot is erased only while it is not serving.
struct UemSources::Slot {
  std::string tenant;
  std::optional<PolicySourceConfig> wished;      // nothing: the configuration names it no longer
  std::shared_ptr<const Upstreams> upstreams;    // that it is to use
  bool fed_otherwise = false;                    // by a source of another kind, once nothing is wished
  bool serving = false;
  Context* running = nullptr;                    // of the source that runs
  UemSource* source = nullptr;                   // likewise
};

UemSourceOptions uem_options(const PolicySourceConfig& config, std::string tenant) {
  Result<proto::Url> url = proto::Url::parse(config.url);
  BH_CHECK(url.has_value());  // the parser of the configuration has refused it before
  return {.tenant = std::move(tenant),
          .url = *std::move(url),
          .token_file = config.token_file,
          .username = config.username,
          .password_file = config.password_file,
          .delta_interval = std::chrono::seconds(config.interval_seconds),
          .bulk_interval = std::chrono::minutes(config.bulk_interval_minutes),
          .page_timeout = std::chrono::milliseconds(config.page_timeout_ms),
          .page_bytes_max = config.page_bytes_max,
          .retry_first = std::chrono::milliseconds(config.retry_first_ms),
          .retry_max = std::chrono::milliseconds(config.retry_max_ms),
          .stale_after = std::chrono::minutes(config.stale_after_minutes)};
}

UemSources::UemSources(Compliance& compliance, MetricsShard& metrics, Log& log)
    : compliance_(compliance), metrics_(metrics), log_(log) {}

UemSources::~UemSources() = default;

void UemSources::take(const Config& config, std::shared_ptr<const Upstreams> upstreams) {
  bool other_ways = upstreams != nullptr && upstreams != upstreams_;
  if (upstreams) upstreams_ = std::move(upstreams);
  std::map<std::string, const PolicySourceConfig*, std::less<>> named;
  for (const PolicySourceConfig& source : config.policy.sources) {
    if (source.kind == PolicySourceKind::uem) named.emplace(source_tenant(config, source), &source);
  }
  for (const auto& [tenant, source] : named) {
    std::unique_ptr<Slot>& slot = slots_[tenant];
    if (!slot) {
      slot = std::make_unique<Slot>();
      slot->tenant = tenant;
    }
    bool same = slot->wished && *slot->wished == *source && !other_ways;
    slot->wished = *source;
    slot->upstreams = upstreams_;
    if (!same && slot->running) slot->running->request_stop();
  }
  for (auto& [tenant, slot] : slots_) {
    if (named.contains(tenant)) continue;
    slot->wished.reset();
    slot->fed_otherwise = std::ranges::any_of(config.policy.sources, [&](const PolicySourceConfig& source) {
      return source_tenant(config, source) == slot->tenant;
    });
    if (slot->running) slot->running->request_stop();
  }
  changed_.set();
}

size_t UemSources::nudge(std::string_view tenant, bool bulk) {
  size_t asked = 0;
  for (auto& [name, slot] : slots_) {
    if (!slot->source || !slot->wished || (!tenant.empty() && name != tenant)) continue;
    slot->source->nudge(bulk);
    ++asked;
  }
  return asked;
}

Task<void> UemSources::run() {
  TaskScope sources(&co_await current_context());
  for (;;) {
    changed_.reset();
    for (auto& [tenant, slot] : slots_) {
      if (slot->serving || !slot->wished) continue;
      slot->serving = true;
      sources.spawn(serve(*slot));
    }
    std::erase_if(slots_, [](const auto& place) { return !place.second->serving && !place.second->wished; });
    if (!co_await changed_.wait()) break;
  }
  sources.request_stop();
  co_await sources.join();
}

// One source after the other, until the configuration names none for the tenant, or the server ends.
Task<void> UemSources::serve(Slot& slot) {
  Context& server = co_await current_context();
  while (slot.wished && !server.stop_requested()) {
    Context running(&server);
    UemSource source(uem_options(*slot.wished, slot.tenant), UpstreamRoutes(slot.upstreams, UpstreamKind::uem), compliance_,
                     metrics_, log_);
    slot.running = &running;
    slot.source = &source;
    co_await source.run().under(running);
    slot.running = nullptr;
    slot.source = nullptr;
  }
  if (!slot.wished && !slot.fed_otherwise) compliance_.forget_source(slot.tenant);
  slot.serving = false;
  changed_.set();
}

}  // namespace bellhop::service
