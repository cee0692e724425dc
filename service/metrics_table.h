// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/ews.h"
#include "service/outcome.h"
#include "service/silence_wheel.h"

// The table of all metrics. A metric exists only as a row here; labels are closed lists, so that no address, name or
// other personal or unbounded value can become one.
namespace bellhop::service {

// Label lists. Each is an enum and its names in order.
enum class RsaEngine : uint8_t { scalar, vector };
enum class RsaEngineName : uint8_t { boringssl, avx512f, avx512ifma };
enum class CacheResult : uint8_t { hit, miss };
enum class ConnectionKind : uint8_t { public_listener, ews, apns, token, gateway_listener, gateway_upstream, uem };
enum class ConnectionTrouble : uint8_t {
  connections_limit, address_limit, handshake_failed, timed_out, malformed, http2_flood, http2_violation, streams_limit,
  address_rate, proxy_header
};
// Limits on how often something may be done, with a bucket for each address, tenant or user (service/rate_limits.h).
enum class RateLimit : uint8_t {
  getpublickey_address,
  getpublickey_tenant,
  subscribe_address,
  subscribe_tenant,
  unauthorized_address,
  handover_user,        // new Exchange subscriptions in place of old ones
  refused_logon_user,   // logons that Exchange refused: an account must not be locked by us
  refused_credentials,  // one attempt for each text of credentials that Exchange refused
  spent_refresh_token,  // refresh tokens that a subscribe has spent
  callbacks_address,
  unknown_callbacks_address,
};
// Why a connection to a server could not be made.
enum class ConnectFailure : uint8_t {
  dns, address_not_allowed, unreachable, timed_out, tls, certificate_expired, certificate_not_yet_valid,
  certificate_other_name, certificate_unknown_authority, certificate_self_signed, certificate_pin_mismatch,
  certificate_invalid, proxy_unreachable, proxy_timed_out, proxy_tls, proxy_authentication, proxy_refused,
  proxy_malformed
};
enum class HttpVersion : uint8_t { http1, http2 };
// What the gateway serves; `none`: the request was refused before its endpoint was known.
enum class GatewayEndpointLabel : uint8_t { none, ews, activesync };
// How asking a UEM for compliance ended.
enum class UemPull : uint8_t { bulk, delta, unreachable, broken };
// How a request for a ticket ended: with a token from tickets at hand, with one that a KDC was asked for, or without one.
enum class KerberosResult : uint8_t {
  kept, asked, unreachable, busy, clock, keytab, service_logon, realm_unknown, service_unknown, delegation_refused,
  user_unknown, user_refused, name_malformed, no_binding, canceled, failed
};
// How a look into the gateway's list of redirects ended, or what became of a redirect.
enum class RedirectResult : uint8_t { known, learned, refused, dropped };
enum class EwsResult : uint8_t {
  ok, item_gone, unauthorized, throttled, ews_error, http_error, malformed, too_large, timed_out, connect_failed,
  breaker_open, waiting_limit, certificate_refused, blocked
};
enum class GrantResult : uint8_t {
  ok, refused, spent, throttled, http_error, redirected, malformed, too_large, timed_out, connect_failed, not_allowed,
  breaker_open, waiting_limit, not_stored
};
using ExchangeProduct = proto::ExchangeProduct;
// How a search by Autodiscover ended. From no_permitted_host on: what went wrong, the more telling the later.
enum class AutodiscoverResult : uint8_t {
  found, cached, failed_before, off, overload, no_permitted_host, not_found, unavailable, timed_out, refused, garbage,
  insecure_redirect, foreign_host, redirect_loop, too_many_redirects, unauthorized
};
enum class ApnsVerdict : uint8_t { accepted, retry, token_gone, refused, provider_key, lost, timed_out, throttled };
// How a reload ended.
enum class ReloadResult : uint8_t { reloaded, unchanged, refused, restart_needed };
// Why a subscription is renewed by the server itself (service/renewal.h).
enum class RenewalReason : uint8_t { age, key, kek, url, moved, lost };
// How a renewal ended; the last ones: why it was not begun.
enum class RenewalResult : uint8_t {
  renewed, refused, unavailable, moved_nowhere, no_source, no_key, store, canceled, conflict, unopened, paced, host_closed
};
enum class SubscriptionState : uint8_t { alive, tombstone };
// Why a device was asked to subscribe again: its subscription is lost; its host is silent, and one of many is tried.
enum class AskReason : uint8_t { lost, probe };
// The stages of one notification (docs/ARCHITECTURE.md). decrypt holds the wait in the queue of the RSA engine.
enum class Stage : uint8_t { route, parse, decrypt, fetch, push, total };
// What a policy said of a device, at a point of this process that asked; see service/policy.h.
enum class PolicyVerdictLabel : uint8_t { allow, block, unavailable };

template <class E>
struct LabelSet;
#define BH_LABEL_SET(type, label_name, ...)                                     \
  template <>                                                                   \
  struct LabelSet<type> {                                                       \
    static constexpr std::string_view name = label_name;                        \
    static constexpr auto values = std::to_array<std::string_view>(__VA_ARGS__); \
  }
BH_LABEL_SET(RsaEngine, "engine", {"scalar", "vector"});
BH_LABEL_SET(RsaEngineName, "engine", {"boringssl", "avx512f", "avx512ifma"});
BH_LABEL_SET(CacheResult, "result", {"hit", "miss"});
BH_LABEL_SET(ConnectionKind, "kind", {"public", "ews", "apns", "token", "gateway", "gateway_upstream", "uem"});
BH_LABEL_SET(ConnectionTrouble, "reason",
             {"connections_limit", "address_limit", "handshake_failed", "timed_out", "malformed", "http2_flood",
              "http2_violation", "streams_limit", "address_rate", "proxy_header"});
BH_LABEL_SET(RateLimit, "limit",
             {"getpublickey_address", "getpublickey_tenant", "subscribe_address", "subscribe_tenant",
              "unauthorized_address", "handover_user", "refused_logon_user", "refused_credentials",
              "spent_refresh_token", "callbacks_address", "unknown_callbacks_address"});
BH_LABEL_SET(ConnectFailure, "reason",
             {"dns", "address_not_allowed", "unreachable", "timed_out", "tls", "certificate_expired",
              "certificate_not_yet_valid", "certificate_other_name", "certificate_unknown_authority",
              "certificate_self_signed", "certificate_pin_mismatch", "certificate_invalid", "proxy_unreachable",
              "proxy_timed_out", "proxy_tls", "proxy_authentication", "proxy_refused", "proxy_malformed"});
BH_LABEL_SET(HttpVersion, "version", {"1", "2"});
BH_LABEL_SET(GatewayEndpointLabel, "endpoint", {"none", "ews", "activesync"});
BH_LABEL_SET(KerberosResult, "result",
             {"kept", "asked", "unreachable", "busy", "clock", "keytab", "service_logon", "realm_unknown", "service_unknown",
              "delegation_refused", "user_unknown", "user_refused", "name_malformed", "no_binding", "canceled", "failed"});
BH_LABEL_SET(RedirectResult, "result", {"known", "learned", "refused", "dropped"});
BH_LABEL_SET(UemPull, "result", {"bulk", "delta", "unreachable", "broken"});
BH_LABEL_SET(EwsResult, "result",
             {"ok", "item_gone", "unauthorized", "throttled", "ews_error", "http_error", "malformed", "too_large",
              "timed_out", "connect_failed", "breaker_open", "waiting_limit", "certificate_refused", "blocked"});
BH_LABEL_SET(GrantResult, "result",
             {"ok", "refused", "spent", "throttled", "http_error", "redirected", "malformed", "too_large", "timed_out",
              "connect_failed", "not_allowed", "breaker_open", "waiting_limit", "not_stored"});
BH_LABEL_SET(ExchangeProduct, "server",
             {"unknown", "exchange2007", "exchange2010", "exchange2013", "exchange2016", "exchange2019",
              "subscription_edition", "online"});
BH_LABEL_SET(AutodiscoverResult, "result",
             {"found", "cached", "failed_before", "off", "overload", "no_permitted_host", "not_found", "unavailable",
              "timed_out", "refused", "garbage", "insecure_redirect", "foreign_host", "redirect_loop",
              "too_many_redirects", "unauthorized"});
BH_LABEL_SET(ApnsVerdict, "verdict",
             {"accepted", "retry", "token_gone", "refused", "provider_key", "lost", "timed_out", "throttled"});
BH_LABEL_SET(ReloadResult, "result", {"reloaded", "unchanged", "refused", "restart_needed"});
BH_LABEL_SET(RenewalReason, "reason", {"age", "key", "kek", "url", "moved", "lost"});
BH_LABEL_SET(RenewalResult, "result",
             {"renewed", "refused", "unavailable", "moved_nowhere", "no_source", "no_key", "store", "canceled", "conflict",
              "unopened", "paced", "host_closed"});
BH_LABEL_SET(SubscriptionState, "state", {"alive", "tombstone"});
BH_LABEL_SET(SilenceStage, "state", {"active", "late", "lost"});
BH_LABEL_SET(AskReason, "reason", {"lost", "probe"});
BH_LABEL_SET(PolicyVerdictLabel, "verdict", {"allow", "block", "unavailable"});
BH_LABEL_SET(Stage, "stage", {"route", "parse", "decrypt", "fetch", "push", "total"});
#undef BH_LABEL_SET
template <>
struct LabelSet<DeviceOutcome> {
  static constexpr std::string_view name = "outcome";
  static constexpr auto values = kDeviceOutcomeNames;
};
template <>
struct LabelSet<CallbackOutcome> {
  static constexpr std::string_view name = "outcome";
  static constexpr auto values = kCallbackOutcomeNames;
};
template <>
struct LabelSet<ApiOutcome> {
  static constexpr std::string_view name = "code";
  static constexpr auto values = kApiOutcomeNames;
};
template <>
struct LabelSet<GatewayOutcome> {
  static constexpr std::string_view name = "outcome";
  static constexpr auto values = kGatewayOutcomeNames;
};
template <>
struct LabelSet<void> {
  static constexpr std::string_view name = "";
  static constexpr std::array<std::string_view, 1> values = {""};
};

enum class MetricType : uint8_t { counter, gauge, gauge_longest, histogram };
// What one unit of a stored number is: nanoseconds are exposed as seconds.
enum class MetricUnit : uint8_t { count, bytes, nanoseconds };

// One row. A histogram shows the bounds 2^first_power … 2^last_power, in units stored.
struct MetricFamily {
  std::string_view name;
  std::string_view help;
  MetricType type = MetricType::counter;
  MetricUnit unit = MetricUnit::count;
  std::string_view label_name;
  std::span<const std::string_view> label_values = LabelSet<void>::values;
  uint8_t first_power = 0;
  uint8_t last_power = 0;
};

namespace detail {
template <class Label>
constexpr MetricFamily row(MetricType type, std::string_view name, std::string_view help,
                           MetricUnit unit = MetricUnit::count, uint8_t first_power = 0, uint8_t last_power = 0) {
  return {name, help, type, unit, LabelSet<Label>::name, LabelSet<Label>::values, first_power, last_power};
}
template <class Label = void>
constexpr MetricFamily counter_row(std::string_view name, std::string_view help) {
  return row<Label>(MetricType::counter, name, help);
}
template <class Label = void>
constexpr MetricFamily gauge_row(std::string_view name, std::string_view help, MetricUnit unit = MetricUnit::count) {
  return row<Label>(MetricType::gauge, name, help, unit);
}
template <class Label = void>
constexpr MetricFamily seconds_row(std::string_view name, std::string_view help) {
  return row<Label>(MetricType::histogram, name, help, MetricUnit::nanoseconds, 13, 35);  // 8 us … 34 s
}
}  // namespace detail

// In the order of the exposition.
inline constexpr auto kMetricFamilies = std::to_array<MetricFamily>({
    detail::counter_row<CallbackOutcome>("bellhop_callbacks_total", "Callbacks of Exchange, by how they were answered."),
    detail::counter_row<DeviceOutcome>("bellhop_device_outcomes_total",
                                       "New-mail events times devices, by how they ended."),
    detail::counter_row<ApiOutcome>("bellhop_api_requests_total", "Requests of devices, by the code of the answer."),
    detail::counter_row("bellhop_events_accepted_total", "New-mail events times devices that were taken on."),
    detail::counter_row("bellhop_events_handed_back_total",
                        "New-mail events times devices given back to Exchange by a 503; it sends them again."),
    detail::gauge_row("bellhop_events_in_flight", "New-mail events times devices that have not ended yet."),
    detail::gauge_row("bellhop_ledger_imbalance",
                      "New-mail events times devices that the ledger cannot account for; anything but 0 is a fault of bellhop."),
    detail::gauge_row("bellhop_journal_records", "Content-free pushes in the journal that still have to be made."),
    detail::counter_row("bellhop_journal_attempts_total", "Pushes out of the journal that were tried."),
    detail::gauge_row("bellhop_sources_after_journal",
                      "Sources (tenant and Exchange host, counted once for each core) that hear OK when the journal has "
                      "their pushes, because too many of their callbacks are in work."),
    detail::gauge_row("bellhop_pushes_behind", "Callbacks that were answered and whose pushes are still being made."),
    detail::gauge_row("bellhop_cores_overloaded", "Cores whose work waits too long, so that they refuse callbacks."),
    detail::row<void>(MetricType::gauge_longest, "bellhop_queue_delay_longest_seconds",
                      "The longest that a ready flow waited for its turn on any core since start.",
                      MetricUnit::nanoseconds),
    detail::counter_row("bellhop_overload_admitted_total",
                        "Callbacks served in spite of overload, because their subscription had been refused for too long."),
    detail::counter_row("bellhop_catch_ups_total", "Listings of a mailbox because events were missed."),
    detail::seconds_row<Stage>("bellhop_stage_seconds", "Time of one notification, by stage."),

    detail::gauge_row<RsaEngineName>("bellhop_rsa_engine_cores", "Cores whose RSA engine is this one."),
    detail::counter_row<RsaEngine>("bellhop_rsa_operations_total",
                                   "RSA private-key operations: one at a time, or in a lane of a vector."),
    detail::counter_row("bellhop_rsa_faults_total",
                        "Results of the vector engine that the public exponent disproved; BoringSSL was asked instead."),
    detail::seconds_row("bellhop_rsa_queue_wait_seconds", "How long decryptions waited for their batch."),
    detail::row<void>(MetricType::histogram, "bellhop_rsa_batch_size", "RSA private-key operations in one batch.",
                      MetricUnit::count, 0, 3),
    detail::gauge_row("bellhop_rsa_queue", "Decryptions that wait for a batch."),
    detail::counter_row<CacheResult>("bellhop_key_cache_lookups_total", "Look-ups of converted private keys."),
    detail::counter_row("bellhop_key_cache_evictions_total", "Converted private keys dropped to make room."),
    detail::gauge_row("bellhop_key_cache_keys", "Converted private keys at hand."),
    detail::gauge_row("bellhop_key_cache_bytes", "What they take.", MetricUnit::bytes),
    detail::gauge_row("bellhop_key_pool_keys", "Key pairs made ahead of need."),

    detail::counter_row<EwsResult>("bellhop_ews_requests_total", "Requests to Exchange, by result."),
    detail::counter_row<GrantResult>("bellhop_oauth_grants_total", "OAuth refresh grants, by result."),
    detail::counter_row<ExchangeProduct>("bellhop_ews_answers_total", "Answers of Exchange, by the product that its version says."),
    detail::counter_row<AutodiscoverResult>("bellhop_autodiscover_total", "Searches by Autodiscover, by how they ended."),
    detail::counter_row<ApnsVerdict>("bellhop_apns_pushes_total", "Pushes sent to APNs, by verdict."),
    detail::gauge_row("bellhop_apns_streams_in_flight", "Pushes sent to APNs and not yet answered."),
    detail::counter_row("bellhop_apns_goaways_total", "GOAWAY frames of APNs."),
    detail::counter_row("bellhop_apns_token_refreshes_total", "Provider tokens signed."),

    detail::gauge_row<ConnectionKind>("bellhop_connections", "Open connections."),
    detail::counter_row("bellhop_connections_accepted_total", "Connections that the public listener and the gateway accepted."),
    detail::counter_row<ConnectionTrouble>("bellhop_connection_troubles_total",
                                           "Connections and requests that the public listener or the gateway refused or ended early, "
                                           "by reason."),
    detail::counter_row<ConnectFailure>("bellhop_upstream_connect_failures_total",
                                        "Connections to Exchange, token endpoints and APNs that could not be made, by reason."),
    detail::counter_row<RateLimit>("bellhop_rate_limited_total", "Requests refused because something was done too often, by limit."),
    detail::gauge_row<HttpVersion>("bellhop_http_connections",
                                   "Open connections of the public listener and the gateway, by version of HTTP; those in their "
                                   "handshake count as 1."),
    detail::counter_row<HttpVersion>("bellhop_http_requests_total",
                                     "Requests of the public listener and the gateway, by version of HTTP."),

    detail::counter_row<GatewayOutcome>("bellhop_gateway_requests_total", "Requests at the gateway, by how they ended."),
    detail::gauge_row<GatewayEndpointLabel>("bellhop_gateway_requests_in_work",
                                            "Requests at the gateway that have not ended, those that wait at Exchange included."),
    detail::gauge_row("bellhop_gateway_requests_parked", "Of these, long polls: Ping, Sync and streaming notifications."),
    detail::counter_row("bellhop_gateway_request_bytes_total", "Bytes of request bodies given to Exchange."),
    detail::counter_row("bellhop_gateway_answer_bytes_total", "Bytes of answers given to clients."),
    detail::row<GatewayEndpointLabel>(MetricType::histogram, "bellhop_gateway_own_seconds",
                                      "From a request's header to its first byte towards Exchange, by endpoint: what the gateway "
                                      "itself takes.",
                                      MetricUnit::nanoseconds, 13, 33),
    detail::counter_row("bellhop_gateway_connections_reused_total", "Requests that went over a connection to Exchange that was there."),
    detail::gauge_row("bellhop_gateway_breakers_open", "Upstreams of the gateway that are given a rest; each core counts its own."),
    detail::counter_row<RedirectResult>("bellhop_gateway_redirects_total", "Redirects of Exchange that the gateway followed or refused."),
    detail::gauge_row("bellhop_gateway_redirects_kept", "Redirects that the gateway remembers."),
    detail::counter_row<KerberosResult>("bellhop_kerberos_requests_total",
                                        "Tokens that the gateway needed to log a user on, by result: kept and asked are good ones, "
                                        "from tickets at hand and by asking a KDC (S4U2Self, S4U2Proxy)."),
    detail::row<void>(MetricType::histogram, "bellhop_kerberos_asking_seconds",
                      "What requests took that tickets at hand were not enough for, waiting for others included.",
                      MetricUnit::nanoseconds, 17, 37),
    detail::gauge_row("bellhop_kerberos_requests_waiting", "Requests that wait for a token."),
    detail::gauge_row("bellhop_kerberos_users_kept", "Users whose tickets are kept."),
    detail::gauge_row("bellhop_kerberos_realms_in_trouble",
                      "Realms in which nobody gets a ticket: no KDC answers, or none lets the service account log on."),
    detail::counter_row<UemPull>("bellhop_uem_pulls_total", "Times that a UEM was asked for compliance, by what came of it."),

    detail::counter_row<RenewalResult>("bellhop_renewals_total",
                                       "Subscriptions that were to be renewed with the credentials that they carry, by how that ended."),
    detail::counter_row<RenewalReason>("bellhop_renewals_done_total", "Subscriptions renewed so, by reason."),
    detail::counter_row("bellhop_hand_overs_total", "Older subscriptions ended because their successor was heard of."),
    detail::counter_row("bellhop_keys_rotated_total", "Users that were given another key pair."),
    detail::counter_row("bellhop_fields_resealed_total", "Stored fields sealed anew under the current key-encryption key."),
    detail::gauge_row("bellhop_old_kek_fields", "Stored fields under other key-encryption keys than the current one, at the last walk."),
    detail::gauge_row("bellhop_old_kek_urls", "Callback URLs of live subscriptions that name another key-encryption key than the current one, at the last walk."),

    detail::counter_row<PolicyVerdictLabel>("bellhop_policy_decisions_total",
                                            "Decisions on devices for registrations, callbacks and pushes, by verdict."),
    detail::counter_row("bellhop_policy_dry_runs_total", "Of these, decisions that only a dry run made to allow."),
    detail::gauge_row("bellhop_compliance_devices", "Names of devices of which something is known."),
    detail::gauge_row("bellhop_compliance_held", "Devices that are blocked or wiped by name."),
    detail::gauge_row("bellhop_compliance_bytes", "Memory of what is known of devices, without texts.", MetricUnit::bytes),
    detail::gauge_row("bellhop_compliance_sources_failing", "Sources of compliance data whose last try failed."),
    detail::gauge_row("bellhop_compliance_sources_stale", "Sources whose data has become too old to decide by."),

    detail::counter_row("bellhop_store_failures_total", "Writes that the store refused."),

    detail::gauge_row<SubscriptionState>("bellhop_subscriptions", "Subscriptions in the store."),
    detail::gauge_row("bellhop_devices", "Devices in the store."),
    detail::gauge_row("bellhop_devices_unnamed",
                      "Of these, devices that have not told what they are called since that is kept: a policy knows nothing of them."),
    detail::gauge_row("bellhop_users", "Users in the store."),

    detail::gauge_row<SilenceStage>("bellhop_mailboxes_supervised",
                                    "Mailboxes by how long Exchange has been silent about them."),
    detail::counter_row<AskReason>("bellhop_resubscribe_asks_total",
                                   "Devices asked to subscribe again because Exchange is silent, by reason."),
    detail::gauge_row("bellhop_ews_hosts_silent", "EWS hosts that are silent for all of their mailboxes."),
    detail::counter_row("bellhop_ews_host_outages_total", "Times that an EWS host fell silent for all of its mailboxes."),
    detail::counter_row("bellhop_supervision_looks_total", "Looks at single mailboxes whose callback was due."),
    detail::row<void>(MetricType::counter, "bellhop_supervision_cpu_seconds_total", "CPU time of these looks.",
                      MetricUnit::nanoseconds),
    detail::gauge_row("bellhop_supervision_bytes", "Memory of the supervision.", MetricUnit::bytes),

    detail::counter_row<ReloadResult>("bellhop_reloads_total",
                                      "Reloads that were asked for, and of named files that had changed, by result."),
    detail::gauge_row("bellhop_reload_last_success", "1 where the last of them found nothing wrong, else 0."),
    detail::gauge_row("bellhop_reload_last_timestamp_seconds", "When the last of them ended; Unix time, 0: none did."),
    detail::gauge_row("bellhop_reload_last_success_timestamp_seconds",
                      "When what is in use now was read; Unix time."),
    detail::gauge_row("bellhop_generation", "Counts configurations in use: 1 after the start."),
    detail::gauge_row("bellhop_generations_alive", "Configurations that something still uses; 1 while nothing is reloaded."),
    detail::counter_row("bellhop_loop_turns_total", "Turns of the event loops."),
    detail::row<void>(MetricType::gauge_longest, "bellhop_loop_turn_longest_seconds",
                      "The longest turn of any event loop since start.", MetricUnit::nanoseconds),
    detail::counter_row("bellhop_uring_enters_total", "Calls of io_uring_enter."),
    detail::gauge_row("bellhop_tasks_alive", "Coroutines that have not ended."),
    detail::gauge_row("bellhop_frames_bytes", "Memory of coroutine frames, pools included.", MetricUnit::bytes),
    detail::gauge_row("bellhop_secret_arena_bytes", "Locked memory in use for secrets.", MetricUnit::bytes),

    detail::counter_row("bellhop_log_lines_total", "Log lines written."),
    detail::counter_row("bellhop_log_lines_suppressed_total", "Log lines left out by the rate limit of their event."),
});

// Their labels come from the configuration, and their values from certificates and tokens: service/expiry.h shows them.
inline constexpr auto kExpiryMetrics = std::to_array<MetricFamily>({
    {.name = "bellhop_certificate_expiry_seconds",
     .help = "Until a certificate of ours expires, by use (listener, gateway, apns) and file; below zero: since then. The soonest 64.",
     .type = MetricType::gauge},
    {.name = "bellhop_apns_provider_token_age_seconds",
     .help = "Since the provider token of a team and key was signed. The oldest 64.",
     .type = MetricType::gauge},
});

}  // namespace bellhop::service
