// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "core/base/check.h"
#include "core/base/time.h"
#include "service/metrics_table.h"

namespace bellhop::service {

// Histograms have 8 buckets for each power of two, so that a bucket is at most 12.5 % wide. A bucket holds the values
// above the bound before it, up to its own bound. Values above 2^37 (137 s) count in the last one.
inline constexpr size_t kHistogramBuckets = 280;
constexpr size_t histogram_bucket(uint64_t value) {
  uint64_t below = value == 0 ? 0 : value - 1;
  if (below < 8) return below;
  size_t power = std::bit_width(below) - 1;
  size_t bucket = (power - 2) * 8 + ((below >> (power - 3)) & 7);
  return bucket < kHistogramBuckets ? bucket : kHistogramBuckets - 1;
}
constexpr uint64_t histogram_bound(size_t bucket) {
  return bucket < 8 ? bucket + 1 : (9 + bucket % 8) << (bucket / 8 - 1);
}

namespace detail {
// A histogram series is its sum, then its buckets.
constexpr size_t cells_of_series(const MetricFamily& family) {
  return family.type == MetricType::histogram ? 1 + kHistogramBuckets : 1;
}
constexpr size_t first_cell_of(size_t family) {
  size_t cell = 0;
  for (size_t i = 0; i < family; ++i) {
    cell += cells_of_series(kMetricFamilies[i]) * kMetricFamilies[i].label_values.size();
  }
  return cell;
}
}  // namespace detail
inline constexpr size_t kMetricCells = detail::first_cell_of(kMetricFamilies.size());

// A metric as the code names it: the first of its cells, its label list (void: none) and type. See namespace metric.
template <MetricType Type, class Label>
struct MetricId {
  uint16_t first_cell;
};

namespace detail {
inline void no_such_metric() {}  // not constexpr: a wrong name, type or label list does not compile
template <MetricType Type, class Label = void>
consteval MetricId<Type, Label> find_metric(std::string_view name) {
  for (size_t i = 0; i < kMetricFamilies.size(); ++i) {
    const MetricFamily& family = kMetricFamilies[i];
    if (family.name != name) continue;
    if (family.type != Type || family.label_values.data() != LabelSet<Label>::values.data()) no_such_metric();
    return {static_cast<uint16_t>(first_cell_of(i))};
  }
  no_such_metric();
  return {0};
}
template <class Label = void>
consteval auto find_counter(std::string_view name) { return find_metric<MetricType::counter, Label>(name); }
template <class Label = void>
consteval auto find_gauge(std::string_view name) { return find_metric<MetricType::gauge, Label>(name); }
template <class Label = void>
consteval auto find_histogram(std::string_view name) { return find_metric<MetricType::histogram, Label>(name); }
}  // namespace detail

// What the code counts with: shard.add(metric::callbacks, CallbackOutcome::ok).
namespace metric {
inline constexpr auto callbacks = detail::find_counter<CallbackOutcome>("bellhop_callbacks_total");
inline constexpr auto device_outcomes = detail::find_counter<DeviceOutcome>("bellhop_device_outcomes_total");
inline constexpr auto api_requests = detail::find_counter<ApiOutcome>("bellhop_api_requests_total");
inline constexpr auto events_accepted = detail::find_counter("bellhop_events_accepted_total");
inline constexpr auto events_handed_back = detail::find_counter("bellhop_events_handed_back_total");
inline constexpr auto events_in_flight = detail::find_gauge("bellhop_events_in_flight");
inline constexpr auto ledger_imbalance = detail::find_gauge("bellhop_ledger_imbalance");
inline constexpr auto journal_records = detail::find_gauge("bellhop_journal_records");
inline constexpr auto journal_attempts = detail::find_counter("bellhop_journal_attempts_total");
inline constexpr auto sources_after_journal = detail::find_gauge("bellhop_sources_after_journal");
inline constexpr auto pushes_behind = detail::find_gauge("bellhop_pushes_behind");
inline constexpr auto cores_overloaded = detail::find_gauge("bellhop_cores_overloaded");
inline constexpr auto queue_delay_longest =
    detail::find_metric<MetricType::gauge_longest>("bellhop_queue_delay_longest_seconds");
inline constexpr auto overload_admitted = detail::find_counter("bellhop_overload_admitted_total");
inline constexpr auto catch_ups = detail::find_counter("bellhop_catch_ups_total");
inline constexpr auto stage_time = detail::find_histogram<Stage>("bellhop_stage_seconds");

inline constexpr auto rsa_operations = detail::find_counter<RsaEngine>("bellhop_rsa_operations_total");
inline constexpr auto rsa_engine_cores = detail::find_gauge<RsaEngineName>("bellhop_rsa_engine_cores");
inline constexpr auto rsa_faults = detail::find_counter("bellhop_rsa_faults_total");
inline constexpr auto rsa_queue_wait = detail::find_histogram("bellhop_rsa_queue_wait_seconds");
inline constexpr auto rsa_batch_size = detail::find_histogram("bellhop_rsa_batch_size");
inline constexpr auto rsa_queue = detail::find_gauge("bellhop_rsa_queue");
inline constexpr auto key_cache_lookups = detail::find_counter<CacheResult>("bellhop_key_cache_lookups_total");
inline constexpr auto key_cache_evictions = detail::find_counter("bellhop_key_cache_evictions_total");
inline constexpr auto key_cache_keys = detail::find_gauge("bellhop_key_cache_keys");
inline constexpr auto key_cache_bytes = detail::find_gauge("bellhop_key_cache_bytes");
inline constexpr auto key_pool_keys = detail::find_gauge("bellhop_key_pool_keys");

inline constexpr auto ews_requests = detail::find_counter<EwsResult>("bellhop_ews_requests_total");
inline constexpr auto oauth_grants = detail::find_counter<GrantResult>("bellhop_oauth_grants_total");
inline constexpr auto ews_answers = detail::find_counter<ExchangeProduct>("bellhop_ews_answers_total");
inline constexpr auto autodiscovers = detail::find_counter<AutodiscoverResult>("bellhop_autodiscover_total");
inline constexpr auto apns_pushes = detail::find_counter<ApnsVerdict>("bellhop_apns_pushes_total");
inline constexpr auto apns_streams_in_flight = detail::find_gauge("bellhop_apns_streams_in_flight");
inline constexpr auto apns_goaways = detail::find_counter("bellhop_apns_goaways_total");
inline constexpr auto apns_token_refreshes = detail::find_counter("bellhop_apns_token_refreshes_total");

inline constexpr auto connections = detail::find_gauge<ConnectionKind>("bellhop_connections");
inline constexpr auto connections_accepted = detail::find_counter("bellhop_connections_accepted_total");
inline constexpr auto connection_troubles = detail::find_counter<ConnectionTrouble>("bellhop_connection_troubles_total");
inline constexpr auto connect_failures =
    detail::find_counter<ConnectFailure>("bellhop_upstream_connect_failures_total");
inline constexpr auto rate_limited = detail::find_counter<RateLimit>("bellhop_rate_limited_total");
inline constexpr auto http_connections = detail::find_gauge<HttpVersion>("bellhop_http_connections");
inline constexpr auto http_requests = detail::find_counter<HttpVersion>("bellhop_http_requests_total");

inline constexpr auto gateway_requests = detail::find_counter<GatewayOutcome>("bellhop_gateway_requests_total");
inline constexpr auto gateway_requests_in_work = detail::find_gauge<GatewayEndpointLabel>("bellhop_gateway_requests_in_work");
inline constexpr auto gateway_requests_parked = detail::find_gauge("bellhop_gateway_requests_parked");
inline constexpr auto gateway_request_bytes = detail::find_counter("bellhop_gateway_request_bytes_total");
inline constexpr auto gateway_answer_bytes = detail::find_counter("bellhop_gateway_answer_bytes_total");
inline constexpr auto gateway_own_time = detail::find_histogram<GatewayEndpointLabel>("bellhop_gateway_own_seconds");
inline constexpr auto gateway_connections_reused = detail::find_counter("bellhop_gateway_connections_reused_total");
inline constexpr auto gateway_breakers_open = detail::find_gauge("bellhop_gateway_breakers_open");
inline constexpr auto gateway_redirects = detail::find_counter<RedirectResult>("bellhop_gateway_redirects_total");
inline constexpr auto gateway_redirects_kept = detail::find_gauge("bellhop_gateway_redirects_kept");
inline constexpr auto kerberos_requests = detail::find_counter<KerberosResult>("bellhop_kerberos_requests_total");
inline constexpr auto kerberos_asking = detail::find_histogram("bellhop_kerberos_asking_seconds");
inline constexpr auto kerberos_requests_waiting = detail::find_gauge("bellhop_kerberos_requests_waiting");
inline constexpr auto kerberos_users_kept = detail::find_gauge("bellhop_kerberos_users_kept");
inline constexpr auto kerberos_realms_in_trouble = detail::find_gauge("bellhop_kerberos_realms_in_trouble");
inline constexpr auto uem_pulls = detail::find_counter<UemPull>("bellhop_uem_pulls_total");

inline constexpr auto renewals = detail::find_counter<RenewalResult>("bellhop_renewals_total");
inline constexpr auto renewals_done = detail::find_counter<RenewalReason>("bellhop_renewals_done_total");
inline constexpr auto policy_decisions = detail::find_counter<PolicyVerdictLabel>("bellhop_policy_decisions_total");
inline constexpr auto policy_dry_runs = detail::find_counter("bellhop_policy_dry_runs_total");
inline constexpr auto compliance_devices = detail::find_gauge("bellhop_compliance_devices");
inline constexpr auto compliance_held = detail::find_gauge("bellhop_compliance_held");
inline constexpr auto compliance_bytes = detail::find_gauge("bellhop_compliance_bytes");
inline constexpr auto compliance_sources_failing = detail::find_gauge("bellhop_compliance_sources_failing");
inline constexpr auto compliance_sources_stale = detail::find_gauge("bellhop_compliance_sources_stale");
inline constexpr auto hand_overs = detail::find_counter("bellhop_hand_overs_total");
inline constexpr auto keys_rotated = detail::find_counter("bellhop_keys_rotated_total");
inline constexpr auto fields_resealed = detail::find_counter("bellhop_fields_resealed_total");
inline constexpr auto old_kek_fields = detail::find_gauge("bellhop_old_kek_fields");
inline constexpr auto old_kek_urls = detail::find_gauge("bellhop_old_kek_urls");

inline constexpr auto store_failures = detail::find_counter("bellhop_store_failures_total");

inline constexpr auto subscriptions = detail::find_gauge<SubscriptionState>("bellhop_subscriptions");
inline constexpr auto devices = detail::find_gauge("bellhop_devices");
inline constexpr auto devices_unnamed = detail::find_gauge("bellhop_devices_unnamed");
inline constexpr auto users = detail::find_gauge("bellhop_users");

inline constexpr auto mailboxes_supervised = detail::find_gauge<SilenceStage>("bellhop_mailboxes_supervised");
inline constexpr auto resubscribe_asks = detail::find_counter<AskReason>("bellhop_resubscribe_asks_total");
inline constexpr auto ews_hosts_silent = detail::find_gauge("bellhop_ews_hosts_silent");
inline constexpr auto ews_host_outages = detail::find_counter("bellhop_ews_host_outages_total");
inline constexpr auto supervision_looks = detail::find_counter("bellhop_supervision_looks_total");
inline constexpr auto supervision_cpu = detail::find_counter("bellhop_supervision_cpu_seconds_total");
inline constexpr auto supervision_bytes = detail::find_gauge("bellhop_supervision_bytes");

inline constexpr auto reloads = detail::find_counter<ReloadResult>("bellhop_reloads_total");
inline constexpr auto reload_last_success = detail::find_gauge("bellhop_reload_last_success");
inline constexpr auto reload_last_time = detail::find_gauge("bellhop_reload_last_timestamp_seconds");
inline constexpr auto reload_last_success_time = detail::find_gauge("bellhop_reload_last_success_timestamp_seconds");
inline constexpr auto generation = detail::find_gauge("bellhop_generation");
inline constexpr auto generations_alive = detail::find_gauge("bellhop_generations_alive");

inline constexpr auto loop_turns = detail::find_counter("bellhop_loop_turns_total");
inline constexpr auto loop_turn_longest =
    detail::find_metric<MetricType::gauge_longest>("bellhop_loop_turn_longest_seconds");
inline constexpr auto uring_enters = detail::find_counter("bellhop_uring_enters_total");
inline constexpr auto tasks_alive = detail::find_gauge("bellhop_tasks_alive");
inline constexpr auto frames_bytes = detail::find_gauge("bellhop_frames_bytes");
inline constexpr auto secret_arena_bytes = detail::find_gauge("bellhop_secret_arena_bytes");

inline constexpr auto log_lines = detail::find_counter("bellhop_log_lines_total");
inline constexpr auto log_lines_suppressed = detail::find_counter("bellhop_log_lines_suppressed_total");
}  // namespace metric

// The numbers of one core, all in place: nothing is allocated after construction. Only the owning core (or, for a
// shard made for it, one worker thread) writes: a change is a relaxed load and a relaxed store, no locked instruction.
// Any thread may read at any time; each number is whole, several numbers are not one moment.
class alignas(64) MetricsShard {
 public:
  MetricsShard() = default;
  MetricsShard(const MetricsShard&) = delete;
  MetricsShard& operator=(const MetricsShard&) = delete;

  void add(MetricId<MetricType::counter, void> id, uint64_t count = 1) { bump(id.first_cell, count); }
  template <class Label>
    requires std::is_enum_v<Label>
  void add(MetricId<MetricType::counter, Label> id, Label label, uint64_t count = 1) {
    bump(id.first_cell + index_of(label), count);
  }

  // Gauges are summed over the cores, so one core may raise what another lowers.
  void raise(MetricId<MetricType::gauge, void> id, uint64_t by = 1) { bump(id.first_cell, by); }
  void lower(MetricId<MetricType::gauge, void> id, uint64_t by = 1) { bump(id.first_cell, 0 - by); }
  void set(MetricId<MetricType::gauge, void> id, uint64_t value) { put(id.first_cell, value); }
  template <class Label>
    requires std::is_enum_v<Label>
  void raise(MetricId<MetricType::gauge, Label> id, Label label, uint64_t by = 1) {
    bump(id.first_cell + index_of(label), by);
  }
  template <class Label>
    requires std::is_enum_v<Label>
  void lower(MetricId<MetricType::gauge, Label> id, Label label, uint64_t by = 1) {
    bump(id.first_cell + index_of(label), 0 - by);
  }
  template <class Label>
    requires std::is_enum_v<Label>
  void set(MetricId<MetricType::gauge, Label> id, Label label, uint64_t value) {
    put(id.first_cell + index_of(label), value);
  }
  // Keeps the largest; over the cores, the largest counts.
  void observe_longest(MetricId<MetricType::gauge_longest, void> id, Duration value) {
    uint64_t longest = static_cast<uint64_t>(value.count());
    if (value.count() > 0 && longest > read(id.first_cell)) put(id.first_cell, longest);
  }

  void observe(MetricId<MetricType::histogram, void> id, uint64_t value) { observe_at(id.first_cell, value); }
  void observe(MetricId<MetricType::histogram, void> id, Duration value) { observe_at(id.first_cell, not_negative(value)); }
  template <class Label>
    requires std::is_enum_v<Label>
  void observe(MetricId<MetricType::histogram, Label> id, Label label, Duration value) {
    observe_at(id.first_cell + index_of(label) * (1 + kHistogramBuckets), not_negative(value));
  }

  uint64_t value(MetricId<MetricType::counter, void> id) const { return read(id.first_cell); }
  uint64_t value(MetricId<MetricType::gauge, void> id) const { return read(id.first_cell); }
  uint64_t value(MetricId<MetricType::gauge_longest, void> id) const { return read(id.first_cell); }
  template <MetricType Type, class Label>
    requires(std::is_enum_v<Label> && Type != MetricType::histogram)
  uint64_t value(MetricId<Type, Label> id, Label label) const {
    return read(id.first_cell + index_of(label));
  }

  // A cell by number, for the exposition.
  uint64_t read(size_t cell) const { return cells_[cell].load(std::memory_order_relaxed); }

 private:
  template <class Label>
  static size_t index_of(Label label) {
    size_t index = static_cast<size_t>(label);
    BH_CHECK(index < LabelSet<Label>::values.size());
    return index;
  }
  static uint64_t not_negative(Duration value) { return value.count() < 0 ? 0 : static_cast<uint64_t>(value.count()); }
  void put(size_t cell, uint64_t value) { cells_[cell].store(value, std::memory_order_relaxed); }
  void bump(size_t cell, uint64_t by) { put(cell, read(cell) + by); }
  void observe_at(size_t series, uint64_t value) {
    bump(series, value);
    bump(series + 1 + histogram_bucket(value), 1);
  }

  std::array<std::atomic<uint64_t>, kMetricCells> cells_ = {};
};

// One histogram series, summed over cores.
struct HistogramSnapshot {
  uint64_t sum = 0;
  uint64_t count = 0;
  std::array<uint64_t, kHistogramBuckets> buckets = {};

  // The bound below which the share `quantile` (0 … 1) of the values lies, at most 12.5 % too high. 0 without values.
  uint64_t quantile(double quantile) const;
};
HistogramSnapshot histogram_snapshot(std::span<const MetricsShard* const> shards,
                                     MetricId<MetricType::histogram, void> id);
HistogramSnapshot histogram_snapshot(std::span<const MetricsShard* const> shards,
                                     MetricId<MetricType::histogram, Stage> id, Stage stage);

// Appends the text exposition of Prometheus, format 0.0.4, summed over the shards.
inline constexpr std::string_view kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";
void render_prometheus(std::span<const MetricsShard* const> shards, std::string& out);

}  // namespace bellhop::service
